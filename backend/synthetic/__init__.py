"""The invented world, made from a seed: never stored as if it were real."""
