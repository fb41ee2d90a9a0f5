"""Measure taggers on images they have not seen: thresholds, figures and reports."""
