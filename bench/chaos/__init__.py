"""Chaos on real processes: kill them, fill their disk, set a clock wrong, and count what became of every photo."""
