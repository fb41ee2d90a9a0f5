"""The ports, the keys of the store, and the models, documents, results and originals in it."""
