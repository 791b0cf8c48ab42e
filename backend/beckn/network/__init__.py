"""Messages between platforms: received once, kept, worked on, delivered; and who is registered."""
