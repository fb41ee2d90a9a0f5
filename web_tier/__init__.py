"""The web tier: the page, the REST API, the catalogue and the collector."""
