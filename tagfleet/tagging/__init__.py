"""`tagfleet tag PATHS`: find photos, send them to a service, wait for their tags, and write the tags."""
