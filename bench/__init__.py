"""What Tagfleet's figures are made with: `python -m bench`, or `make bench`. Nothing here is a test."""
