"""What images are made with: scripts, units and user data that pass their own tools, and what is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from string import Template

import pytest
import yaml

from ami import requirements
from tagfleet.cli import ship_logs

AMI = Path(__file__).parents[3] / "ami"
LOGS = "tagfleet-logs"
NAMES = {"settings": "s3://photos/fleet/settings.toml", "region": "eu-central-1", "pool": "resnet50", "address": "::"}

ONLY_ITS_OWN = r"""
import importlib.abc, importlib.metadata as metadata, re, sys
from ami.requirements import name_of, of

def needed(lines):
    for line in lines:
        name = name_of(line)
        if name not in found:
            found.add(name)
            extras = re.findall(r"\[(.+?)\]", line)
            try:
                inner = metadata.requires(name) or []
            except metadata.PackageNotFoundError:
                continue  # for another Python
            needed(one for one in inner if "extra ==" not in one or any(extra in one for extra in extras))

found = {"tagfleet", "setuptools"}
needed(of(sys.argv[1], metadata.requires("tagfleet")))
providers = metadata.packages_distributions()

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        owners = providers.get(name.partition(".")[0], [])
        if owners and not found & {name_of(owner) for owner in owners}:
            raise ModuleNotFoundError(f"{name} is not installed for this role", name=name)

sys.meta_path.insert(0, Absent())
for module in sys.argv[2:]:
    __import__(module)
"""


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_the_scripts_are_clean() -> None:
    scripts = [str(path) for path in (*AMI.glob("*.sh"), *AMI.glob("*/*.sh"))]
    assert len(scripts) >= 3
    done = subprocess.run(
        [tool("shellcheck"), "--shell=bash", "--exclude=SC2154", *scripts], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_systemd_has_nothing_to_say_about_the_units(tmp_path: Path) -> None:
    shutil.copytree(AMI / "units", tmp_path, dirs_exist_ok=True)
    for unit in tmp_path.glob("*.service"):
        unit.write_text(re.sub("/opt/tagfleet/venv/bin/(tagfleet|python)", "/bin/true", unit.read_text()))
    units = sorted(tmp_path.glob("*.service"))
    assert len(units) == 8
    done = subprocess.run([tool("systemd-analyze"), "verify", *units], capture_output=True, text=True, check=False)
    assert done.stderr == ""  # its exit status is 0 for keys that it does not know


def _unit(name: str) -> dict[str, list[str]]:
    """Its keys with all that they are given; a key may come several times."""
    found: dict[str, list[str]] = {}
    for line in (AMI / "units" / f"{name}.service").read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).extend(value.split())
    return found


@pytest.mark.parametrize("name", sorted({path.stem for path in (AMI / "units").glob("tagfleet-*.service")} - {LOGS}))
def test_the_logs_of_every_unit_are_shipped_and_the_shipper_ends_after_it(name: str) -> None:
    """systemd stops in the reverse order of starting, so what starts before a unit ends after it."""
    assert f"{name}.service" in _unit(LOGS)["Before"]
    assert name in ship_logs.UNITS
    assert f"{name}.service" not in _unit(LOGS).get("After", [])


def test_a_machine_waits_for_its_last_logs_and_not_for_ever() -> None:
    unit = _unit(LOGS)
    (drain,) = (float(word.partition("=")[2]) for word in unit["ExecStart"] if word.startswith("--drain-s"))
    assert 5 <= drain < float(unit["TimeoutStopSec"][0]) <= 60
    assert "network-online.target" in unit["After"]  # so the network goes later
    assert "Restart" in unit
    install = (AMI / "install.sh").read_text()
    assert install.count("(tagfleet-logs ") == 2, "both roles have it"


@pytest.mark.parametrize("file", ["user_data.yaml", "host_user_data.yaml"])
def test_user_data_is_what_cloud_init_takes(file: str, tmp_path: Path) -> None:
    text = Template((AMI / file).read_text()).substitute(NAMES)
    assert yaml.safe_load(text)["write_files"]
    path = tmp_path / file
    path.write_text(text)
    done = subprocess.run(
        [tool("cloud-init"), "schema", "--config-file", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_worker_on_a_cpu_imports_nothing_that_is_not_installed_for_it() -> None:
    modules = ["tagfleet.cli.worker", "tagfleet.cli.prepare", "app_tier.engines.openvino", "core.aws.platform"]
    modules += ["core.aws.settings", "core.local.platform", "core.aws.sources"]
    modules += [
        "tagfleet.cli.ship_logs",
        "simplejpeg",  # imported only for files without an end
        "core.logs.log_shipper",
        "core.logs.journal",
        "core.aws.logs",
        "core.aws.metadata",
    ]
    done = subprocess.run(
        [sys.executable, "-c", ONLY_ITS_OWN, "worker", *modules], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_host_imports_nothing_that_is_not_installed_for_it() -> None:
    modules = [
        "tagfleet.cli.web",
        "tagfleet.cli.collector",
        "tagfleet.cli.controller",
        "tagfleet.cli.signal_ready",
        "tagfleet.deployment.readiness",
        "ami.aws.hosts",
        "web_tier.app",
        "core.aws.platform",
    ]
    done = subprocess.run(
        [sys.executable, "-c", ONLY_ITS_OWN, "host", *modules], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_name_of_a_role_is_a_requirement_with_a_pin() -> None:
    everything = requires("tagfleet") or []
    for role, names in requirements.ROLES.items():
        chosen = requirements.of(role, everything)
        assert {requirements.name_of(line) for line in chosen} == names
        assert all("==" in line for line in chosen)


def test_names_of_requirements_have_one_spelling() -> None:
    assert requirements.name_of("Pillow_HEIF[x]==1.8 ; python_version > '3'") == "pillow-heif"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--role", "cook"], "--role cook: there are worker and host"),
        (["--package", "/nowhere.whl"], "--package '/nowhere.whl': there is no such file"),
        (["--weights"], "the last option needs a value"),
        (["--faster"], "there is no option --faster"),
    ],
)
def test_wrong_arguments_of_install_end_in_a_line(arguments: list[str], said: str) -> None:
    done = subprocess.run(["bash", AMI / "install.sh", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"install.sh: {said}"


def test_an_image_for_gpus_tells_its_workers_to_compute_on_one() -> None:
    """At the bake, too: `tagfleet prepare` fails there if the GPU does not compute, and install.sh with it."""
    install = (AMI / "install.sh").read_text()
    assert "if [[ $gpu == yes ]]; then device=cuda; else device=cpu; fi" in install
    assert "export TAGFLEET_WORKER__DEVICE=$device" in install
    assert 'echo "TAGFLEET_WORKER__DEVICE=$device" >/etc/tagfleet/image.env' in install
    assert _unit("tagfleet-worker")["EnvironmentFile"] == ["-/etc/tagfleet/image.env", "/etc/tagfleet/worker.env"]
