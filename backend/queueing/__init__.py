"""Work that waits in the database, and the threads that do it: wake-ups, heartbeats, consumers."""
