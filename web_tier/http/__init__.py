"""HTTP concerns that know no resource: declared routes, access, request parsing, limits, problems and OpenAPI."""
