"""Benchmarks that produce Tagfleet's published figures: `python -m bench`, or `make bench`. None of them is a test."""
