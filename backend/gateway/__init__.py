"""The gateway's serving half: its endpoints by what they are about, and what feeds them."""
