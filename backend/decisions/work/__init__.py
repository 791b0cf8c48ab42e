"""The gateway's work on notifications: claim, read the context, decide, publish."""
