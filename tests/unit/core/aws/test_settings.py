"""Settings that lie in a bucket, as a command reads them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from config import settings as config
from config.settings import BadSetting
from tests.cloud import REGION, Cloud
from tests.metadata import FakeMetadata, serving

Run = Callable[..., CompletedProcess[str]]
TEXT = """
backend = "aws"
[aws]
region = "eu-central-1"
deployment = "photos"
input_bucket = "in"
output_bucket = "out"
[pools.photos]
tagger = "resnet50"
"""


@pytest.fixture
def bucket(cloud: Cloud) -> str:
    name = cloud.name("settings")
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket=name, Key="fleet/settings.toml", Body=TEXT.encode())
    return name


@pytest.fixture
def run(cloud: Cloud) -> Run:
    def run(*arguments: str, **environ: str) -> CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TAGFLEET_", "AWS_"))}
        return subprocess.run(
            [sys.executable, "-m", "tagfleet", *arguments],
            env={**inherited, **cloud.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_a_command_reads_its_settings_from_a_bucket(run: Run, bucket: str) -> None:
    done = run("worker", "--pool", "none", TAGFLEET_CONFIG=f"s3://{bucket}/fleet/settings.toml")
    assert done.returncode == 2
    assert done.stderr.strip() == "tagfleet: --pool none: there is no such pool; there are: resnet50, photos"


def test_an_object_that_is_not_there_ends_in_a_line(run: Run, bucket: str) -> None:
    uri = f"s3://{bucket}/none.toml"
    done = run("worker", "--config", uri)
    told = f"tagfleet: settings file {uri}: there is no such bucket or object; `tagfleet aws up` makes it"
    assert (done.returncode, done.stderr.strip()) == (2, told)


def test_an_object_that_is_no_toml_is_named() -> None:
    with pytest.raises(BadSetting, match=r"^settings file s3://b/k: Invalid value"):
        config.load({}, file=config.Document("s3://b/k", "backend ="))


def test_a_worker_that_is_no_instance_of_ec2_does_not_know_its_id(run: Run) -> None:
    done = run("worker", "--instance", "auto")
    assert done.returncode == 2
    assert "--instance auto: only an EC2 instance knows its id" in done.stderr


def test_a_worker_on_ec2_has_its_instances_id(run: Run, bucket: str) -> None:
    """It gets as far as its first heartbeat, for which there is no bucket, and to weights that there are not."""
    with serving(FakeMetadata("i-0123456789abcdef0", 1_767_355_200.0)) as metadata:
        uri = f"s3://{bucket}/fleet/settings.toml"
        done = run("worker", "--instance", "auto", TAGFLEET_CONFIG=uri, TAGFLEET_LOG_FORMAT="json", **metadata.environ)
    assert done.returncode == 1
    assert '"worker": "i-0123456789abcdef0"' in done.stderr
    assert "there is no such bucket" in done.stderr.splitlines()[-1]
