"""Other servers of models, with the same network, measured in turn with Tagfleet: `python -m bench.peers`."""
