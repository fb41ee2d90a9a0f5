"""A deployment on AWS: create it, update it, read its settings file, delete it."""
