"""The buyer's side of a purchase."""
