"""Boot a worker's image under qemu, with a cloud on this host, and report the time of each phase: `make boot-image`.

The guest acts as an instance: it asks a metadata service for its identity and its role's credentials, reads its
settings from the bucket, tags a photo, drains when asked to, and powers itself off.

TCG emulates every instruction, and the guest's clock counts 2 ns for each. Its seconds therefore do not depend on the
load of this host, and compare only with each other.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from bench.data import random_weights, test_data
from config import settings as config
from core.domain.messages import Job, decode_result, encode
from core.fleet.roster import Heartbeat, WorkerState
from core.storage import layout
from core.wiring import Backend
from tests import cloud as clouds
from tests.metadata import FakeMetadata, serving
from tests.unit.app_tier.conftest import picture

ROOT = Path(__file__).parents[2]
PYTHON = sys.executable
_HOST = "10.0.2.2"  # the host's loopback in qemu's user network
_ID = "i-0b007ed0b007ed000"
_ROLE = "meta-data/iam/security-credentials/"
_BOOT_S, _TAG_S, _END_S, _LOOK_S = 3600.0, 600.0, 600.0, 2.0
_PACKAGES = ("tagfleet", "web_tier", "controller", "app_tier", "core", "config", "ami")
_REPORT = "systemd-analyze; systemd-analyze --no-pager critical-chain tagfleet-worker.service; "
_BLAME = "systemd-analyze --no-pager blame | head -12"
_SETTINGS = """
backend = "aws"
[aws]
region = "{region}"
deployment = "boot"
input_bucket = "boot-in"
output_bucket = "boot-out"
[queue]
visibility_timeout_s = 3600.0
[worker]
abandoned_s = 3600.0
[controller]
boot_deadline_s = 600.0
[pools.resnet50]
tagger = "resnet50"
fallback = ""
"""


@dataclass(frozen=True)
class Boot:
    """Times of one boot. `systemd` is the report of the guest's systemd."""

    ready: Heartbeat
    systemd: str

    def phases(self) -> dict[str, float]:
        """Seconds of each phase, in order."""
        boot = self.ready.boot
        assert boot is not None
        kernel = re.search(r"Startup finished in (?:([\d.]+)min )?([\d.]+)(m?)s \(kernel\)", self.systemd)
        assert kernel is not None, self.systemd
        of_kernel = 60 * float(kernel[1] or 0) + float(kernel[2]) / (1000 if kernel[3] else 1)
        ends = {
            "kernel and initrd": of_kernel,
            "userspace until the worker's process": boot.process,
            "settings and metadata": boot.imports,
            "weights": boot.weights,
            "engine and first inference": boot.first_inference,
        }
        starts = [0.0, *ends.values()]
        return {name: round(end - start, 1) for (name, end), start in zip(ends.items(), starts, strict=False)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="a folder for the disk and what it is made of; 3 GB")
    parser.add_argument(
        "--variant", choices=("stock", "lean"), action="append", help="default: both, one after the other"
    )
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    work = chosen.work.absolute()
    ingredients = _ingredients(work)
    for variant in chosen.variant or ("stock", "lean"):
        _run(ROOT / "ami" / "qemu" / "build.sh", work, *ingredients, *(["--lean"] if variant == "lean" else []))
        found = boot(work)
        print(f"\n{variant}: {found.ready.tagger} on {found.ready.engine}, drained and powered off")
        for phase, seconds in found.phases().items():
            print(f"  {seconds:6.1f} s  {phase}")
        print(f"  {sum(found.phases().values()):6.1f} s  from launch to ready\n\n{found.systemd}", flush=True)


def boot(work: Path) -> Boot:
    """Boot the disk in `work` once: its worker tags a picture, drains and powers the machine off."""
    fake = FakeMetadata(_ID, time.time())
    with clouds.running() as cloud, serving(fake):
        backend = _deployment(cloud)
        fake.documents |= _role(cloud)
        _give_user_data(work / "disk.ext4", cloud, fake)
        fake.documents |= FakeMetadata(_ID, time.time()).documents  # launched now
        qemu = _machine(work)
        try:
            ready = _wait(lambda: _beat(backend, WorkerState.IDLE), qemu, _BOOT_S)
            _tag(backend, qemu)
            systemd = _ask(qemu, _REPORT + _BLAME)
            backend.roster.request_drain(_ID)
            assert qemu.wait(_END_S) == 0
            assert _beat(backend, WorkerState.DRAINED), "the machine ended, and its worker has not drained"
            _check_logs(cloud)
        finally:
            qemu.kill()
            qemu.communicate()
    return Boot(ready, systemd)


# --- ingredients of the image ----------------------------------------------------------------


def _ingredients(work: Path) -> tuple[Path, ...]:
    """Make a wheel of this checkout, the wheels it needs, weights, and the converted engine."""
    with tempfile.TemporaryDirectory() as copy:  # in the checkout, setuptools would leave a folder `build`
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *_PACKAGES]
        listing += ["pyproject.toml", "requirements.txt"]
        names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True).stdout
        tar = ["tar", "--create", "--null", "--files-from=-", "--ignore-failed-read"]
        packed = subprocess.run(tar, cwd=ROOT, input=names, check=True, capture_output=True).stdout
        subprocess.run(["tar", "--extract"], cwd=copy, input=packed, check=True)
        _run(PYTHON, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", work / "package", copy)
    package = next((work / "package").glob("*.whl"))
    needed = subprocess.run(
        [PYTHON, "-P", "-m", "ami.requirements", "worker"],
        cwd=work,
        env={**os.environ, "PYTHONPATH": str(package)},
        check=True,
        capture_output=True,
        text=True,
    )
    _run(PYTHON, "-m", "pip", "download", "-q", "--dest", work / "wheels", *needed.stdout.split())
    data = test_data(os.environ)
    weights = data / "weights" if data else work / "weights"
    if data is None and not weights.is_dir():
        weights.mkdir()
        random_weights(weights)
    home = {
        "TAGFLEET_HOME": str(work / "home"),
        "TAGFLEET_CACHE": str(work / "cache"),
        "TAGFLEET_WEIGHTS": str(weights),
    }
    _run(PYTHON, "-m", "tagfleet", "prepare", env={**os.environ, **home})
    return package, work / "wheels", weights / "resnet50.safetensors", work / "cache" / "engines"


def _give_user_data(disk: Path, cloud: clouds.Cloud, fake: FakeMetadata) -> None:
    """Write the files of the user data, as cloud-init does, and the address of this cloud, which EC2 needs not."""
    names = {"settings": "s3://boot-out/fleet/settings.toml", "region": clouds.REGION, "pool": "resnet50"}
    user_data = Template((ROOT / "ami" / "user_data.yaml").read_text()).substitute(names)
    (file,) = yaml.safe_load(user_data)["write_files"]
    endpoints = {"AWS_ENDPOINT_URL": cloud.endpoint, "AWS_EC2_METADATA_SERVICE_ENDPOINT": fake.endpoint}
    lines = [f"{name}={address.replace('127.0.0.1', _HOST)}\n" for name, address in endpoints.items()]
    with tempfile.NamedTemporaryFile("w") as written:
        written.write(file["content"].replace("${AWS::StackName}", "boot") + "".join(lines))
        written.flush()
        for request in (f"rm {file['path']}", f"write {written.name} {file['path']}"):
            _run("debugfs", "-w", "-R", request, disk, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


# --- the cloud --------------------------------------------------------------------------------


def _deployment(cloud: clouds.Cloud) -> Backend:
    s3, sqs = cloud.client("s3"), cloud.client("sqs")
    for bucket in ("boot-in", "boot-out"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": clouds.REGION})
    for queue in ("boot-jobs-resnet50", "boot-results"):
        sqs.create_queue(QueueName=queue)
    cloud.client("logs").create_log_group(logGroupName="/tagfleet/boot/workers")
    text = _SETTINGS.format(region=clouds.REGION)
    s3.put_object(Bucket="boot-out", Key="fleet/settings.toml", Body=text.encode())
    os.environ |= cloud.environ
    return Backend(config.load({}, file=config.Document("settings of the boot", text)))


def _check_logs(cloud: clouds.Cloud) -> None:
    """Check that the logs of the worker's unit, and systemd's of its end, arrived before the power-off."""
    stream = {"logGroupName": "/tagfleet/boot/workers", "logStreamName": f"{_ID}/tagfleet-worker"}
    events = cloud.client("logs").get_log_events(**stream)["events"]
    told = [event["message"] for event in events]
    assert any("Started" in message for message in told), told
    assert any("Deactivated successfully" in message for message in told), told


def _role(cloud: clouds.Cloud) -> dict[str, str]:
    """Return the credentials of an instance's role."""
    key, secret = cloud.environ["AWS_ACCESS_KEY_ID"], cloud.environ["AWS_SECRET_ACCESS_KEY"]
    credentials = {"Code": "Success", "AccessKeyId": key, "SecretAccessKey": secret, "Token": "t"}
    return {_ROLE: "worker", f"{_ROLE}worker": json.dumps({**credentials, "Expiration": "2099-01-01T00:00:00Z"})}


def _beat(backend: Backend, state: WorkerState) -> Heartbeat | None:
    return next((seen for seen in backend.roster.workers() if seen.worker_id == _ID and seen.state is state), None)


def _tag(backend: Backend, qemu: subprocess.Popen[str]) -> None:
    """Have the guest's worker tag one picture."""
    key = layout.image_key("bat_1", "img_1")
    backend.store.put(key, picture())
    job = Job(batch_id="bat_1", image_id="img_1", key=key, name="a.png", tagger="resnet50", submitted_at=time.time())
    backend.jobs("resnet50").send([encode(job)])
    found = _wait(lambda: backend.results.receive(1, 1.0), qemu, _TAG_S)
    assert found
    assert decode_result(backend.store.get(layout.result_key("bat_1", "img_1")).data).error is None


# --- the machine ------------------------------------------------------------------------------


def _machine(work: Path) -> subprocess.Popen[str]:
    """Start qemu. The first serial port is the console, logged to a file; the second is a shell."""
    command = """
        nice -n 19 qemu-system-x86_64 -accel tcg -icount shift=1 -rtc clock=vm -cpu max -smp 1 -m 3G
        -kernel kernel -initrd initrd -append "root=/dev/vda console=ttyS0 panic=-1"
        -drive file=disk.ext4,format=raw,if=virtio -snapshot
        -netdev user,id=net -device virtio-net-pci,netdev=net,romfile=
        -serial file:console.log -serial stdio -display none -monitor none -no-reboot
    """
    return subprocess.Popen(
        shlex.split(command),
        cwd=work,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _ask(qemu: subprocess.Popen[str], command: str) -> str:
    """Run a command in the guest's shell; return its output."""
    assert qemu.stdin is not None
    assert qemu.stdout is not None
    qemu.stdin.write(f"{command}; echo end of answer\n")
    qemu.stdin.flush()
    lines = []
    for line in qemu.stdout:
        if "end of answer" in line and "echo" not in line:
            break
        lines.append(line.rstrip())
    return "\n".join(lines)


def _wait(look: Callable[[], Any], qemu: subprocess.Popen[str], timeout_s: float) -> Any:
    until = time.monotonic() + timeout_s
    while not (found := look()):
        if qemu.poll() is not None or time.monotonic() > until:
            raise SystemExit("the machine ended, or took too long: console.log in the work folder says more")
        time.sleep(_LOOK_S)
    return found


def _run(*command: object, **options: Any) -> None:
    subprocess.run([str(part) for part in command], check=True, **options)


if __name__ == "__main__":
    main()
