"""Everything that turns a bare account and a bare machine into a fleet: the stack, the image, the units."""
