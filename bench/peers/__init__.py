"""Compare Tagfleet with other model servers and the same network: `python -m bench.peers`."""
