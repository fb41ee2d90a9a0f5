"""Load for a Tagfleet at any address, and what it did to the answers. It knows the service only through its client."""
