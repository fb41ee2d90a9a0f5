"""The ports, the keys of the store, and what is kept in it: models, documents, results, originals."""
