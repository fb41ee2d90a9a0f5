"""The REST API: one module for each resource. Each route declares its schemas, scope and errors where it is defined."""
