"""Decide how many workers each pool should have, in pure functions: `policy.decide` is the whole rule.

`estimates` learns from the past, `forecast` looks at the time of day, `budget` shares the cap, and `scale_in` decides
how long to keep surplus workers.
"""
