"""The web page: one HTML document, its scripts and styles, and the documentation of the API at /docs."""
