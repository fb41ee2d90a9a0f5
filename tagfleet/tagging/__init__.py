"""What `tagfleet tag` does: find photos, send each once, follow them, report their tags."""
