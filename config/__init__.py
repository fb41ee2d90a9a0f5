"""Typed settings, schedules, and label lists. It imports nothing of Tagfleet, so every package may import it."""
