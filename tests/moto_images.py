"""Correct moto's machine images where they differ from AWS's documentation."""

from __future__ import annotations

from typing import Any

from moto.ec2.models.amis import AmiBackend

_create_image = AmiBackend.create_image


def apply() -> None:
    """Replace moto's functions by those of this module."""
    AmiBackend.create_image = _with_tagged_snapshots


def _with_tagged_snapshots(
    self: AmiBackend, instance_id: str, name: str, description: str, tag_specifications: list[dict[str, Any]]
) -> Any:
    """ "To tag the snapshots that are created of the root volume and of other Amazon EBS volumes that are attached to
    the instance, the value for ResourceType must be snapshot. The same tag is applied to all of the snapshots."
    """
    of_image = [tags for tags in tag_specifications if tags["ResourceType"] != "snapshot"]
    image = _create_image(self, instance_id, name, description, of_image)
    for tags in tag_specifications:
        if tags["ResourceType"] == "snapshot":
            for tag in tags["Tags"]:
                image.ebs_snapshot.add_tag(tag["Key"], tag["Value"])
    return image
