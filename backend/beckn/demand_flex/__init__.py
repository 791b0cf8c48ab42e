"""Flexibility as it is bought over Beckn: a need, a contract, and what it came to."""
