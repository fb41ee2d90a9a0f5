"""An image contains the engines of those pools whose models a machine without rights can get."""

from __future__ import annotations

from config import settings as config
from config.settings import Document
from tagfleet.cli.ami import builder_environment, left_out_pools

FLEET = """
[pools.small-ones]
tagger = "timm/resnet18"
weights = "/home/me/resnet18.safetensors"
[pools.pets]
tagger = "pets"
[pools.pinned]
tagger = "resnet50@1a2b3c4d"
[pools.captions]
tagger = "florence2"
[pools.learns]
tagger = "adaptive"
"""


def test_a_builder_prepares_what_it_can_get_without_the_store() -> None:
    """A model of the registry made `tagfleet prepare` fail there, and the bake with it, after a quarter of an hour."""
    settings = config.load({}, file=Document("fleet.toml", FLEET))
    told = builder_environment(settings)
    taggers = {name: value for name, value in told.items() if name.endswith("__TAGGER")}
    assert taggers == {
        "TAGFLEET_POOLS__RESNET50__TAGGER": "resnet50",
        "TAGFLEET_POOLS__SMALL_ONES__TAGGER": "timm/resnet18",
        "TAGFLEET_POOLS__LEARNS__TAGGER": "adaptive",
    }
    assert not any("/home/me" in value for value in told.values())
    assert [line.partition(": ")[0] for line in left_out_pools(settings)] == [
        "pool pets is left out",
        "pool pinned is left out",
        "pool captions is left out",
    ]
