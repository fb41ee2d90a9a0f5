"""What baking asks of EC2, as EC2 answers it."""

from __future__ import annotations

from core.aws.images import Ec2Images
from tests.cloud import Cloud


def test_the_console_is_read_as_it_was_written(cloud: Cloud) -> None:
    ec2 = cloud.client("ec2")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    instance = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    written = ec2.get_console_output(InstanceId=instance)["Output"]
    assert "\n" in written
    assert Ec2Images(cloud.clients, "tagfleet", "bucket").console(instance) == written
