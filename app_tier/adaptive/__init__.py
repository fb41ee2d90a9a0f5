"""How the `adaptive` tagger learns: sums of features (statistics), what they say (bayes), where they are kept (memory).

No engine and no network here: numpy alone.
"""
