"""The one way out: every HTTP call to another machine is made here, within limits, and fails by a name."""
