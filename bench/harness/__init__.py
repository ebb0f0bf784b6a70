"""The driver of the peers bench: standard library only. Start reading at command.py."""
