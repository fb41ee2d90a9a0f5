"""Move a catalogue from one database into another: `move` copies and verifies it, `sides` are the two databases."""
