"""Events and decisions: derive, word, log and store them.

`derive` finds the fleet's events, `render` puts events and decisions into words, `record` logs and stores both,
`metrics` turns a tick into numbers, and `replay` writes whole ticks to a file and reads them back. The types
(`FleetEvent`, `Decision`, `Terms`) are in `core.fleet`, because the web tier and the command line read them.
"""
