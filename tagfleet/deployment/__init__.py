"""A deployment on AWS, from an account to a fleet and back: its stack, its settings file, its end."""
