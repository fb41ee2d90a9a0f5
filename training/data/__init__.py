"""Labelled images: reading, checking, finding copies, splitting, augmenting and loading."""
