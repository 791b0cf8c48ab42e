"""The audit log as a chain of hashes: what is hashed, and where a chain no longer holds."""
