"""A program on a machine of a data centre: takes due work, runs commands that its owner has configured, and reports.

It speaks to the server over HTTP alone and imports none of the server's rooms.
"""
