"""Deferrable work sold to the grid: units, baselines, events, what to offer, and what it comes to."""
