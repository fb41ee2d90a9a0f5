"""Reads the header of each format in plain Python: size, memory and time, before any decoder sees the file."""
