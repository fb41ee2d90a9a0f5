"""A fleet that lives in virtual time: the real controller over a simulated cloud. No I/O, no clock of its own."""
