"""Actions on the fleet that take more than one call: launches, which survive a crash at any instant."""
