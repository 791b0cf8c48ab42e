"""What the scorer would have decided on the grid of days gone by."""
