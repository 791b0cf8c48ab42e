"""Beckn 1.1: the messages and the catalogues by which compute and workloads find each other."""
