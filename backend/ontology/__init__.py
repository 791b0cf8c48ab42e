"""Object types with properties and links, declared once; the objects endpoints and the live state come from them."""
