"""`tagfleet tag PATHS`: find photos, send them to a service, follow them to their tags, write the tags."""
