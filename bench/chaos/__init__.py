"""Chaos test on real processes: kill them, fill the disk, skew a clock, and account for every photo."""
