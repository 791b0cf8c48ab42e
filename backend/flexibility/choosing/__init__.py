"""What to offer for an event: which work to move, and what a battery does. Pure."""
