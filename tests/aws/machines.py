"""Simulate the machines behind EC2's instances, which moto does not have.

1. A running instance gets a worker process with the instance's user data and its own metadata service.
2. As the worker's systemd unit does, a killed worker is restarted, and a worker that exits shuts the machine down.
3. A shutdown terminates the instance, as the launch template says; terminating an instance ends its machine.
"""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.cloud import Cloud
from tests.metadata import FakeMetadata, serving

_LOOK_S = 0.2
_BILLED = ("pending", "running", "stopping", "stopped")
_STARTS = 3  # StartLimitBurst
_EXIT_HUNG = 70  # RestartForceExitStatus


@dataclass
class Machine:
    """One machine. `rent` holds its resources, released when it ends."""

    instance: str
    environ: dict[str, str]
    metadata: FakeMetadata
    rent: ExitStack
    process: subprocess.Popen[bytes] = field(init=False)
    starts: int = 0


class Machines:
    """The machines of one deployment. `image` is the machine image's environment, `logs` the folder of their logs."""

    def __init__(self, cloud: Cloud, deployment: str, image: Mapping[str, str], logs: Path) -> None:
        self._ec2 = cloud.client("ec2")
        self._deployment = deployment
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("TAGFLEET_", "AWS_"))},
            **{name: value for name, value in cloud.environ.items() if "REGION" not in name},
            **image,
        }
        self._logs = logs
        self._lock = threading.RLock()
        self._machines: dict[str, Machine] = {}
        self.seen: list[str] = []
        """Every instance that ever had a machine, in order."""
        self.markets: list[str] = []
        """How each of them was bought, spot or on-demand."""
        self.most = 0
        """The most instances billed at one time."""

    @contextmanager
    def switched_on(self) -> Iterator[Machines]:
        """Let machines follow the instances until the block ends; then end all their processes."""
        self._logs.mkdir(parents=True, exist_ok=True)
        over, failures = threading.Event(), []

        def watch() -> None:
            try:
                while not over.wait(_LOOK_S):
                    self._look()
            except BaseException as error:  # noqa: BLE001  # the test's own thread raises it
                failures.append(error)

        watcher = threading.Thread(target=watch, name="machines")
        watcher.start()
        try:
            yield self
        finally:
            over.set()
            watcher.join()
            for machine in list(self._machines.values()):
                self._switch_off(machine)
        if failures:
            raise failures[0]

    @property
    def running(self) -> list[str]:
        """Return the instances that have a machine, the oldest first."""
        with self._lock:
            return list(self._machines)

    def kill_worker(self, instance: str) -> None:
        """Send SIGKILL to the worker's process; the machine stays."""
        with self._lock:
            os.killpg(self._machines[instance].process.pid, signal.SIGKILL)

    def crash(self, instance: str) -> None:
        """End the machine at once, and with it its instance."""
        with self._lock:
            self._switch_off(self._machines[instance])
            self._ec2.terminate_instances(InstanceIds=[instance])

    def interrupt(self, instance: str) -> None:
        """Have EC2 give notice that it takes this spot instance back."""
        with self._lock:
            self._machines[instance].metadata.interrupt()

    def log(self, instance: str) -> str:
        return (self._logs / f"{instance}.log").read_text()

    def billed(self) -> list[str]:
        """Return the billed instances, as EC2 lists them."""
        return [each["InstanceId"] for each in self._described() if each["State"]["Name"] in _BILLED]

    def listed(self) -> int:
        """Return the number of all instances there ever were, as EC2 lists them."""
        return len(self._described())

    def _described(self) -> list[dict[str, Any]]:
        pages = self._ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": "tag:tagfleet:deployment", "Values": [self._deployment]}]
        )
        return [each for page in pages for held in page["Reservations"] for each in held["Instances"]]

    def _look(self) -> None:
        described = self._described()
        self.most = max(self.most, sum(each["State"]["Name"] in _BILLED for each in described))
        for each in described:
            instance, state = each["InstanceId"], each["State"]["Name"]
            with self._lock:
                machine = self._machines.get(instance)
                if state == "running" and instance not in self.seen:
                    self.markets.append(each.get("InstanceLifecycle", "on-demand"))
                    tags = {tag["Key"]: tag["Value"] for tag in each.get("Tags", [])}
                    self._switch_on(instance, each["LaunchTime"].timestamp(), tags)
                elif machine and state != "running":
                    self._switch_off(machine)
                elif machine and (ended := machine.process.poll()) is not None:
                    self._tend(machine, ended)

    def _switch_on(self, instance: str, launched_at: float, tags: Mapping[str, str]) -> None:
        rent = ExitStack()
        metadata = rent.enter_context(serving(FakeMetadata(instance, launched_at, tags)))
        environ = {**self._environ, **metadata.environ, **self._worker_env(instance)}
        self.seen.append(instance)
        machine = self._machines[instance] = Machine(instance, environ, metadata, rent)
        self._start(machine)

    def _worker_env(self, instance: str) -> dict[str, str]:
        """Return what cloud-init writes to /etc/tagfleet/worker.env."""
        found = self._ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")
        user_data = base64.b64decode(found["UserData"]["Value"]).decode()
        assert user_data.startswith("#cloud-config\n"), f"instance {instance} got as user data: {user_data!r}"
        files = {each["path"]: each["content"] for each in yaml.safe_load(user_data)["write_files"]}
        lines = files["/etc/tagfleet/worker.env"].splitlines()
        return dict(line.split("=", 1) for line in lines)

    def _start(self, machine: Machine) -> None:
        pool = machine.environ["POOL"]
        machine.starts += 1
        with (self._logs / f"{machine.instance}.log").open("ab") as log:
            machine.process = subprocess.Popen(
                [sys.executable, "-m", "tagfleet", "worker", "--instance", "auto", "--pool", pool],
                env=machine.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _tend(self, machine: Machine, ended: int) -> None:
        if (ended < 0 or ended == _EXIT_HUNG) and machine.starts < _STARTS:
            self._start(machine)
        else:
            self._switch_off(machine)
            self._ec2.terminate_instances(InstanceIds=[machine.instance])

    def _switch_off(self, machine: Machine) -> None:
        if machine.process.poll() is None:
            os.killpg(machine.process.pid, signal.SIGKILL)
        machine.process.wait()
        machine.rent.close()
        self._machines.pop(machine.instance, None)
