"""The endpoints of the API server, by what they are about."""
