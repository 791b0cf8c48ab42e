"""The endpoints under /openadr3/3.1.0, one file a kind of object."""
