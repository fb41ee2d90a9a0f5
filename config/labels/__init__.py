"""Label lists, one name a line, in the order of the network's outputs."""

from importlib.resources import files


def load(name: str) -> tuple[str, ...]:
    """The labels of `name`.txt beside this file."""
    return tuple(files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8").splitlines())
