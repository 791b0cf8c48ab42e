"""What the gateway answers."""
