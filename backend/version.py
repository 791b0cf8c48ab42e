"""The program's version, as it names itself to clients, upstreams and the audit log."""

VERSION = "0.1.0"
