"""Clients of the three public APIs; `data_fetchers` is their public door."""
