"""Writes logs without ever failing, reads systemd's journal, and ships it to a log service."""
