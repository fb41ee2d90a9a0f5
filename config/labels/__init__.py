"""Label lists, one name a line, in the order of the network's outputs. `hierarchy` knows what lies above a name.

A name is its first synonym in WordNet, in title case: as a person would write it under a photo.
"""

from importlib.resources import files


def load(name: str) -> tuple[str, ...]:
    """The labels of `name`.txt beside this file."""
    return tuple(files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8").splitlines())
