"""`tagfleet loadtest`: send photos to a service, watch the fleet, and report how long their tags took."""
