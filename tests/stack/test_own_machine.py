"""Run a stack in moto from one's own machine: `tagfleet up` with the settings that `tagfleet aws up` wrote."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from bench.deployment import Deployment, wait_until
from tests.cloud import REGION, Cloud
from tests.stack.commands import deployment_in, image_of


@pytest.mark.e2e
def test_the_settings_of_the_stack_are_all_that_a_machine_of_ones_own_needs(cloud: Cloud, tmp_path: Path) -> None:
    name = cloud.name("own")
    made = deployment_in(cloud, name, tmp_path / "home")("aws", "up", "--image", image_of(cloud), "--yes")
    assert made.exit_code == 0, (made.output, made.exception)
    bucket = f"{name}-out-123456789012-{REGION}"
    uri = f"s3://{bucket}/fleet/settings.toml"
    assert f"TAGFLEET_CONFIG={uri} tagfleet up" in made.output
    own = Deployment(tmp_path / "home", {**cloud.environ, "TAGFLEET_CONFIG": uri})
    try:
        own.start()
        assert f"results in s3://{bucket}" in own.said
        with urllib.request.urlopen(f"{own.url}/api/v1/fleet", timeout=120) as answer:
            assert answer.status == 200
        wait_until(lambda: cloud.client("s3").list_objects_v2(Bucket=bucket, Prefix="fleet/controller").get("KeyCount"))
        assert not own.find("prepare")
        assert own.stop(within_s=120) == 0, own.said
        assert "stopped" in own.said
    finally:
        own.kill_everything()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--image", "ami-00000000"], "there is no image ami-00000000 in eu-central-1; bake one"),
        (["--source", "s3://archive/2024"], "--source s3://archive/2024: give only the bucket's name, archive"),
        (["--source-key", "alias/photos"], "--source-key alias/photos: give the ARN of a KMS key"),
        (["--subnet", "subnet-0000000a"], "there is no such subnet in eu-central-1: subnet-0000000a; see --subnet"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_made(
    cloud: Cloud, tmp_path: Path, arguments: list[str], line: str
) -> None:
    run = deployment_in(cloud, cloud.name("lacking"), tmp_path)
    given = arguments if "--image" in arguments else [*arguments, "--image", image_of(cloud)]
    done = run("aws", "up", "--yes", *given)
    assert done.exception is not None
    assert str(done.exception).startswith(line)
    assert "\n" not in str(done.exception)


def test_a_deployment_that_is_not_there_has_no_status_and_no_end(cloud: Cloud, tmp_path: Path) -> None:
    name = cloud.name("nowhere")
    run = deployment_in(cloud, name, tmp_path)
    for command in ("status", "down"):
        assert str(run("aws", command).exception).startswith(
            f"there is no stack {name} in {REGION}; check --deployment"
        )
