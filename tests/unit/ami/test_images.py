"""What baking asks of EC2, as EC2 answers it."""

from __future__ import annotations

import pytest

from ami.aws.account import USER_DATA_TAG
from ami.aws.images import Ec2Images
from core.errors import Misconfigured
from tests.cloud import Cloud


def test_the_console_is_read_as_it_was_written(cloud: Cloud) -> None:
    ec2 = cloud.client("ec2")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    instance = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    written = ec2.get_console_output(InstanceId=instance)["Output"]
    assert "\n" in written
    assert Ec2Images(cloud.clients, "tagfleet", "bucket").console(instance) == written


def test_nothing_is_built_on_an_image_that_runs_no_script(cloud: Cloud) -> None:
    """The builder would never report, and the bake ended after an hour."""
    ec2 = cloud.client("ec2")
    base = ec2.describe_images()["Images"][0]["ImageId"]
    instance = ec2.run_instances(ImageId=base, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    images = Ec2Images(cloud.clients, "tagfleet", "bucket")
    worker = images.create(instance, cloud.name("worker"), {USER_DATA_TAG: "names"})
    with pytest.raises(
        Misconfigured, match=f"image {worker} is a worker's, which runs no script: bake from one without"
    ):
        images.launch_builder("again", worker, "c7i.xlarge", "#!/bin/bash", subnet="", disk_gb=40)
