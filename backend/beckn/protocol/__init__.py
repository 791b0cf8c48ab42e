"""Beckn 1.1 as this network speaks it: objects, context, signatures, acknowledgements. Pure."""
