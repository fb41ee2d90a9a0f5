"""`tagfleet loadtest`: send photos to a service, watch what happens, and report how long their tags took."""
