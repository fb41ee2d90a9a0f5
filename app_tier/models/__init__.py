"""Networks and their weights: what is fixed about each, where its files are found, how they are downloaded."""
