"""Carrying out what was decided: runs are started, deferred, ended and reckoned, whoever promised their power."""
