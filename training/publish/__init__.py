"""Turn an evaluated run into a model of the registry."""
