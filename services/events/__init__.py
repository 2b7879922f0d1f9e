"""The event service: event log, call records, live calls, and the consoles that watch."""
