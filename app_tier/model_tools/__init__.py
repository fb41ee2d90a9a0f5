"""Tools that people run once for a model: add its weights to the registry, make and measure its int8 form.

This package imports taggers and engines; workers do not import it.
"""
