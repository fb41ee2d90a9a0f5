"""Compare Tagfleet with other model servers on the same network, in alternating rounds: `python -m bench.peers`."""
