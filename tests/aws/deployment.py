"""Run a whole deployment on moto: the resources of `tagfleet aws up`, and the host's processes."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

from bench.deployment import TAGFLEET, wait_until
from tests.aws.machines import Machines
from tests.cloud import REGION, Cloud
from web_tier.serve import ADDRESS_FILE

ROLES = ("web", "collector", "controller")
_USER_DATA = Path(__file__).parents[2] / "ami" / "user_data.yaml"
_NAMES = """
[aws]
region = "{region}"
deployment = "{name}"
input_bucket = "{name}-in"
output_bucket = "{name}-out"
"""
_SETTINGS = """
backend = "aws"

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
backlog_target_s = 2.0
idle_keep_s = 1.0
stabilisation_s = 1.0
lost_after_s = 8.0
boot_deadline_s = 120.0

[collector]
sweep_s = 1.0

[pools.resnet50]
tagger = "efficientnet-lite0"
fallback = ""
"""
"""A small tagger whose weights come with a package, and the shortest intervals that moto can keep up with."""


def settings_toml(*, max_workers: int) -> str:
    """Return the settings file that a person would write."""
    return _SETTINGS.format(max_workers=max_workers)


class Stack:
    """The buckets, queues, launch template and settings of a deployment."""

    def __init__(self, cloud: Cloud, name: str, input: str, output: str) -> None:
        self._s3, self._sqs, self._ec2 = (cloud.client(service) for service in ("s3", "sqs", "ec2"))
        self.name, self.input, self.output = name, input, output
        self.settings_uri = f"s3://{output}/fleet/settings.toml"

    @classmethod
    def make(cls, cloud: Cloud, name: str, *, max_workers: int) -> Stack:
        """Make what the CloudFormation template describes, as far as moto supports it."""
        stack = cls(cloud, name, f"{name}-in", f"{name}-out")
        stack._make_buckets()
        for queue in ("jobs-resnet50", "results"):
            stack._make_queue(queue)
        stack.notify()
        stack._make_launch_template()
        toml = settings_toml(max_workers=max_workers) + _NAMES.format(region=REGION, name=name)
        stack._s3.put_object(Bucket=stack.output, Key="fleet/settings.toml", Body=toml.encode())
        return stack

    def notify(self) -> None:
        """Have the input bucket notify the queue of new objects."""
        jobs = self._arn(self._sqs.get_queue_url(QueueName=f"{self.name}-jobs-resnet50")["QueueUrl"])
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

    def drop(self, key: str, data: bytes) -> None:
        """Put a file into the input bucket, as any program may."""
        self._s3.put_object(Bucket=self.input, Key=key, Body=data)

    def results(self, prefix: str = "results/") -> dict[str, dict[str, Any]]:
        """Return the stored results by key."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.output, Prefix=prefix)
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return {key: json.load(self._s3.get_object(Bucket=self.output, Key=key)["Body"]) for key in keys}

    def outstanding(self, queue: str) -> int:
        """Return the number of messages that wait or are in flight."""
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

    def _make_queue(self, name: str) -> None:
        dead = self._arn(self._sqs.create_queue(QueueName=f"{self.name}-{name}-dead")["QueueUrl"])
        policy = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 5})
        self._sqs.create_queue(
            QueueName=f"{self.name}-{name}", Attributes={"VisibilityTimeout": "6", "RedrivePolicy": policy}
        )

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
    """The processes of one host, kept running as systemd does, and the machines of the fleet."""

    def __init__(
        self, cloud: Cloud, stack: Stack, home: Path, image: Mapping[str, str], *, roles: Sequence[str] = ROLES
    ) -> None:
        self.stack = stack
        self._roles = roles
        self.home = home
        self.machines = Machines(cloud, stack.name, image, home / "workers")
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("TAGFLEET_", "AWS_"))},
            **cloud.environ,
            **image,
            "TAGFLEET_CONFIG": stack.settings_uri,
            "TAGFLEET_HOME": str(home),
            "TAGFLEET_WEB__THREADS": "32",
            "TAGFLEET_PORT": "0",
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        return (self.home / ADDRESS_FILE).read_text().strip()

    @contextmanager
    def running(self) -> Iterator[AwsDeployment]:
        """Run everything until the block ends."""
        self.home.mkdir(parents=True)
        try:
            with self.machines.switched_on():
                for role in self._roles:
                    self.start(role)
                wait_until(lambda: (self.home / ADDRESS_FILE).exists() or self._failed(), 300)
                self.environ["TAGFLEET_PORT"] = self.url.rpartition(":")[2]  # a restart keeps the address
                yield self
        except BaseException:
            self._show_logs()
            raise
        finally:
            for role in self._processes:
                self.kill(role)

    def start(self, role: str, *, as_another: str = "") -> None:
        """Start the process of a role, as systemd would; `as_another` names one more process of the same role."""
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
        """Send SIGKILL to the process and its children."""
        process = self._processes[role]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self, role: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Signal the process to end and wait for it."""
        self._processes[role].send_signal(number)
        self._processes[role].wait(120)

    def log(self, role: str) -> str:
        return (self.home / f"{role}.log").read_text()

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a `tagfleet` command on this deployment."""
        return subprocess.Popen(
            [*TAGFLEET, *arguments], env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def _show_logs(self) -> None:
        """Print the ends of all logs, to explain a failed test."""
        for log in sorted(self.home.rglob("*.log")):
            print(f"--- {log.relative_to(self.home)}", *log.read_text().splitlines()[-15:], sep="\n")

    def _failed(self) -> bool:
        """Raise RuntimeError if a process has ended."""
        for role, process in self._processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"tagfleet {role} ended:\n{self.log(role)}")
        return False
