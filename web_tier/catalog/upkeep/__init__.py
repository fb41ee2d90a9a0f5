"""Upkeep of a catalogue as a whole: `move`, `check` and `vacuum`, over a `Side` for each kind of database."""
