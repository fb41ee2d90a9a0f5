"""Deleting a deployment in moto: launches meanwhile, and what has to go."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from config import settings as config
from config.settings import Settings
from core.wiring import Backend
from tagfleet.deployment.down import take_down
from tests.cloud import REGION, Cloud
from tests.stack.commands import deployment_in, image_of


@pytest.fixture
def made(cloud: Cloud, tmp_path: Path) -> Settings:
    name = cloud.name("ending")
    done = deployment_in(cloud, name, tmp_path)("aws", "up", "--image", image_of(cloud), "--yes")
    assert done.exit_code == 0, (done.output, done.exception)
    bucket = f"{name}-{{}}-123456789012-{REGION}".format
    names = {"region": REGION, "deployment": name, "input_bucket": bucket("in"), "output_bucket": bucket("out")}
    return config.load({}, flags={"backend": "aws", **{f"aws.{key}": value for key, value in names.items()}})


def test_nothing_is_launched_until_the_stack_is_gone_and_a_later_one_is_not_paused(
    cloud: Cloud, made: Settings
) -> None:
    told: list[tuple[str, bool]] = []
    with CliRunner().isolation(env=cloud.environ):
        roster = Backend(made).roster
        take_down(cloud.clients, made, lambda line: told.append((line, roster.paused())), drain_s=0, delete_data=False)
    assert told[0] == (f"{made.aws.deployment} (CloudFormation::Stack): delete complete", True)
    assert (f"stack {made.aws.deployment} is gone", False) in told


@pytest.mark.parametrize("lost", ["fleet/settings.toml", ""], ids=["settings", "bucket"])
def test_a_deployment_that_has_lost_its_settings_can_be_taken_down(
    cloud: Cloud, made: Settings, tmp_path: Path, lost: str
) -> None:
    s3, bucket = cloud.client("s3"), made.aws.output_bucket
    s3.delete_object(Bucket=bucket, Key="fleet/settings.toml")
    if not lost:
        s3.delete_bucket(Bucket=bucket)
    done = deployment_in(cloud, made.aws.deployment, tmp_path)("aws", "down", "--yes", "--drain-s", "0")
    assert done.exit_code == 0, (done.output, done.exception)
    assert f"stack {made.aws.deployment} is gone" in done.output


def test_whoever_thinks_better_of_it_while_workers_drain_has_the_fleet_back(cloud: Cloud, made: Settings) -> None:
    ec2 = cloud.client("ec2")
    tags = {"tagfleet:deployment": made.aws.deployment, "tagfleet:pool": "resnet50", "tagfleet:token": "t"}
    ec2.run_instances(
        ImageId=image_of(cloud),
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ],
    )

    def interrupted(_: float) -> None:
        assert roster.paused()
        raise KeyboardInterrupt

    with CliRunner().isolation(env=cloud.environ):
        roster = Backend(made).roster
        with pytest.raises(KeyboardInterrupt):
            take_down(cloud.clients, made, lambda _: None, drain_s=60, delete_data=False, pause=interrupted)
        assert not roster.paused()
