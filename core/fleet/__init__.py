"""What the processes of a fleet tell each other through the store, and how they judge who is alive."""
