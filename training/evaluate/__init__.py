"""Measure a trained run or a tagger on labelled images, and report the figures."""
