"""What the controller does to the fleet beyond single calls: launches, which survive a crash at any instant."""
