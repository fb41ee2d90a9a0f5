"""From `tagfleet aws up` to `tagfleet aws down` with tagged photos in between, run from a local machine."""

from __future__ import annotations

import io
import signal
import subprocess

import pytest

from bench.deployment import TAGFLEET, wait_until
from tagfleet.client import Client
from tests.aws.deployment import AwsDeployment, Stack, settings_toml
from tests.cloud import REGION

pytestmark = [pytest.mark.aws, pytest.mark.long, pytest.mark.timeout(400)]


def test_an_empty_account_becomes_a_fleet_and_an_empty_one_again(cloud, image, make_photos, tmp_path):
    name, ec2, s3 = cloud.name("mine"), cloud.client("ec2"), cloud.client("s3")
    wishes = tmp_path / "wishes.toml"
    wishes.write_text(settings_toml(max_workers=1))
    [ami, *_] = ec2.describe_images(Owners=["amazon"])["Images"]
    host = AwsDeployment(cloud, Stack(cloud, name, "", ""), tmp_path / "home", image).environ | {"TAGFLEET_CONFIG": ""}

    def aws(*arguments: str) -> str:
        done = subprocess.run(
            [*TAGFLEET, "aws", *arguments, "--deployment", name, "--region", REGION],
            env=host,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = aws("up", "--config", str(wishes), "--image", ami["ImageId"], "--yes")
    buckets = [each["Name"] for each in s3.list_buckets()["Buckets"] if each["Name"].startswith(f"{name}-")]
    [input] = [bucket for bucket in buckets if bucket.startswith(f"{name}-in")]
    [output] = [bucket for bucket in buckets if bucket.startswith(f"{name}-out")]
    assert f"TAGFLEET_CONFIG=s3://{output}/fleet/settings.toml tagfleet up" in said
    stack = Stack(cloud, name, input, output)
    stack.notify()  # moto's CloudFormation omits the notification

    with AwsDeployment(cloud, stack, tmp_path / "home", image, roles=("up",)).running() as deployment:
        photos = make_photos(5)
        with Client(deployment.url) as client:
            batch = client.create_batch()
            client.upload(batch, [(name, io.BytesIO(content)) for name, content in photos])
            client.close(batch)
            assert [item.status for item in client.stream(batch)] == ["succeeded"] * len(photos)
        stack.drop("images/new.jpg", photos[0][1])
        wait_until(lambda: len(stack.results()) == len(photos) + 1)
        told = aws("status", "--no-drift")
        assert name in told
        assert "resnet50" in told
        deployment.stop("up", signal.SIGINT)
        aws("down", "--yes", "--drain-s", "5")
        assert not deployment.machines.billed()
    assert len(stack.results()) == len(photos) + 1, "images and results stay"
    names = [each["StackName"] for each in cloud.client("cloudformation").describe_stacks()["Stacks"]]
    assert name not in names
