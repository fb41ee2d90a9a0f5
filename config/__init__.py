"""Typed settings and label lists; imports nothing of Tagfleet."""
