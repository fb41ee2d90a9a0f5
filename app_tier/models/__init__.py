"""Networks and their weights: the description of each, and the search for its files, with downloads."""
