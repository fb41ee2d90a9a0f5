"""How many workers each pool should have, as pure functions: `policy.decide` is the whole rule.

`estimates` learns from the past, `forecast` looks at the time of day, `budget` shares the cap, `scale_in` decides how
long to keep workers that nothing needs.
"""
