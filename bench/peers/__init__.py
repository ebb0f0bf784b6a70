"""Workers of the peers bench that are Python, one file an engine. They run in the throw-away environment."""
