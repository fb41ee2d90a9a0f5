"""Label lists, one name per line, in the order of the network's outputs; and `hierarchy`, the broader terms of each.

A name is its first synonym in WordNet, in title case, as a person would write it under a photo.
"""

from importlib.resources import files


def load(name: str) -> tuple[str, ...]:
    """Return the labels of `name`.txt in this folder."""
    return tuple(files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8").splitlines())
