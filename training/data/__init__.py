"""Labelled images: how they are read, checked, split, augmented and loaded."""
