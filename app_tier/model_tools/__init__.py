"""What people run once for a model: add its weights to the registry, make and measure its int8 form.

It needs taggers and engines, so it stands above them; workers do not import it.
"""
