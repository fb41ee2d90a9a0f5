"""How the `adaptive` tagger learns: statistics of features, a Bayes classifier over them, and their store.

`statistics` sums features exactly, `bayes` turns the sums into probabilities, `state` adds and undoes people's
feedback, `encoding` turns a state into bytes, `store` keeps these. Needs only numpy: no engine and no network.
"""
