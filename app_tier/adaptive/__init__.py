"""How the `adaptive` tagger learns: statistics of features, a Bayes classifier over them, and their store.

`statistics` sums features exactly, `bayes` turns the sums into probabilities, `state` adds and takes back people's
feedback, `encoding` makes a state bytes, `store` keeps them. No engine and no network here: numpy alone.
"""
