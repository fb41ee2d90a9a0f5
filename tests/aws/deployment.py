"""A whole deployment on moto: web tier, collector and controller as processes, and what `tagfleet aws up` leaves."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

from bench.deployment import TAGFLEET, wait_until
from config import settings as config
from config.settings import Settings
from tests.aws.machines import Machines
from tests.cloud import REGION, Cloud
from web_tier.serve import ADDRESS_FILE

ROLES = ("web", "collector", "controller")
_USER_DATA = Path(__file__).parents[2] / "ami" / "user_data.yaml"
_SETTINGS = """
backend = "aws"
log_format = "json"
port = 0

[aws]
region = "{region}"
deployment = "{name}"
input_bucket = "{name}-in"
output_bucket = "{name}-out"

[queue]
visibility_timeout_s = 6
max_receives = 5

[worker]
heartbeat_s = 0.5

[controller]
tick_s = 0.5
lease_s = 2.0
max_workers = {max_workers}
throughput_prior = 2.0
drain_goal_s = 2.0
linger_s = 1.0
stabilisation_s = 1.0
lost_after_s = 5.0
boot_deadline_s = 60.0

[collector]
sweep_s = 1.0

[pools.resnet50]
tagger = "efficientnet-lite0"
fallback = ""
"""
"""A small tagger whose weights come with a package, and times as short as moto can answer in."""


class Stack:
    """What the template describes, as far as moto has it: buckets, queues, notification, launch template, settings."""

    def __init__(self, cloud: Cloud, name: str, *, max_workers: int) -> None:
        self._s3, self._sqs, self._ec2 = (cloud.client(service) for service in ("s3", "sqs", "ec2"))
        self.name = name
        self.input, self.output = f"{name}-in", f"{name}-out"
        self.settings_uri = f"s3://{self.output}/fleet/settings.toml"
        self.toml = _SETTINGS.format(region=REGION, name=name, max_workers=max_workers)
        self._make_buckets()
        jobs = self._make_queue("jobs-resnet50")
        self._make_queue("results")
        self._s3.put_bucket_notification_configuration(
            Bucket=self.input,
            NotificationConfiguration={
                "QueueConfigurations": [
                    {
                        "QueueArn": jobs,
                        "Events": ["s3:ObjectCreated:*"],
                        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "images/"}]}},
                    }
                ]
            },
        )
        self._make_launch_template()
        self._s3.put_object(Bucket=self.output, Key="fleet/settings.toml", Body=self.toml.encode())

    def drop(self, key: str, data: bytes) -> None:
        """What any program may do: put a file into the input bucket."""
        self._s3.put_object(Bucket=self.input, Key=key, Body=data)

    def results(self, prefix: str = "results/") -> dict[str, dict[str, Any]]:
        """The stored results by their keys."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.output, Prefix=prefix)
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return {key: json.load(self._s3.get_object(Bucket=self.output, Key=key)["Body"]) for key in keys}

    def outstanding(self, queue: str) -> int:
        """Messages that wait or are in flight."""
        return sum(self._depth(queue))

    def in_flight(self, queue: str) -> int:
        return self._depth(queue)[1]

    def _depth(self, queue: str) -> tuple[int, int]:
        url = self._sqs.get_queue_url(QueueName=f"{self.name}-{queue}")["QueueUrl"]
        names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        found = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names))["Attributes"]
        waiting, in_flight = (int(found[name]) for name in names)
        return waiting, in_flight

    def _make_buckets(self) -> None:
        for bucket in (self.input, self.output):
            self._s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})

    def _make_queue(self, name: str) -> str:
        dead = self._arn(self._sqs.create_queue(QueueName=f"{self.name}-{name}-dead")["QueueUrl"])
        policy = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 5})
        made = self._sqs.create_queue(
            QueueName=f"{self.name}-{name}", Attributes={"VisibilityTimeout": "6", "RedrivePolicy": policy}
        )
        return self._arn(made["QueueUrl"])

    def _arn(self, url: str) -> str:
        found: str = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return found

    def _make_launch_template(self) -> None:
        user_data = Template(_USER_DATA.read_text()).substitute(
            settings=self.settings_uri, region=REGION, pool="resnet50"
        )
        [image, *_] = self._ec2.describe_images(Owners=["amazon"])["Images"]
        tags = [{"Key": "tagfleet:deployment", "Value": self.name}, {"Key": "tagfleet:pool", "Value": "resnet50"}]
        self._ec2.create_launch_template(
            LaunchTemplateName=f"{self.name}-resnet50",
            LaunchTemplateData={
                "ImageId": image["ImageId"],
                "UserData": base64.b64encode(user_data.encode()).decode(),
                "InstanceInitiatedShutdownBehavior": "terminate",
                "TagSpecifications": [{"ResourceType": "instance", "Tags": tags}],
            },
        )


class AwsDeployment:
    """The processes of one host, as its systemd keeps them, and the machines of the fleet."""

    def __init__(self, cloud: Cloud, stack: Stack, home: Path, image: Mapping[str, str]) -> None:
        self.stack = stack
        self.home = home
        self.machines = Machines(cloud, stack.name, image, home / "workers")
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("TAGFLEET_", "AWS_"))},
            **cloud.environ,
            **image,
            "TAGFLEET_CONFIG": stack.settings_uri,
            "TAGFLEET_HOME": str(home),
            "TAGFLEET_WEB__THREADS": "32",
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def settings(self) -> Settings:
        return config.load({}, flags=tomllib.loads(self.stack.toml))

    @property
    def url(self) -> str:
        return (self.home / ADDRESS_FILE).read_text().strip()

    @contextmanager
    def running(self) -> Iterator[AwsDeployment]:
        """Within it everything runs; afterwards nothing does."""
        self.home.mkdir(parents=True)
        try:
            with self.machines.switched_on():
                for role in ROLES:
                    self.start(role)
                wait_until(lambda: (self.home / ADDRESS_FILE).exists() or self._failed(), 60)
                self.environ["TAGFLEET_PORT"] = self.url.rpartition(":")[2]  # a restart is found at the same address
                yield self
        finally:
            for role in self._processes:
                self.kill(role)

    def start(self, role: str, *, as_another: str = "") -> None:
        """Start the process that a host's systemd would start, or one more of it, which goes by another name."""
        name = as_another or role
        with (self.home / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*TAGFLEET, role],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, role: str) -> None:
        """SIGKILL to the process and all that it started."""
        process = self._processes[role]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self, role: str) -> None:
        """Ask the process to end, and wait until it has."""
        self._processes[role].terminate()
        self._processes[role].wait(30)

    def log(self, role: str) -> str:
        return (self.home / f"{role}.log").read_text()

    def run(self, *arguments: str) -> str:
        """Another command of this deployment; what it says. Raises CalledProcessError."""
        return subprocess.run(
            [*TAGFLEET, *arguments], env=self.environ, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def _failed(self) -> bool:
        """Raises RuntimeError where a process has ended."""
        for role, process in self._processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"tagfleet {role} ended:\n{self.log(role)}")
        return False
