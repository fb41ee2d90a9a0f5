"""The objects that the processes of a fleet exchange through the store, and the rule for who is alive."""
