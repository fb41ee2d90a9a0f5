"""Baking an image, against moto. What stands in is the builder's machine, which runs the script that it is given."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ami.aws.account import Account
from ami.aws.buckets import temporary_bucket
from ami.aws.images import BAKE_TAG, BakedImage, Ec2Images
from ami.bake import Bake, BakeFailed, Recipe
from core.aws.store import S3Store
from core.errors import TagfleetError, Unavailable
from core.storage import layout
from core.storage.ports import ObjectStore
from tests.cloud import REGION, Cloud

INSTALLER = """
echo installing
printf '%s\\n' "$@" "$TAGFLEET_POOLS__RESNET50__TAGGER" >"$SEEN/arguments"
cp "$2" "$SEEN/package"
"""


class Kitchen:
    """A deployment's bucket and images, and the builder's machine: each pause, it does what its user data says."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.ec2 = cloud.client("ec2")
        self.bucket = cloud.name("bake")
        cloud.client("s3").create_bucket(Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.clients = clients = cloud.clients
        self.images = Ec2Images(clients, self.bucket, self.bucket)
        self.store: ObjectStore = S3Store(clients, input_bucket=self.bucket, output_bucket=self.bucket)
        self.said: list[str] = []
        self.machine: Callable[[str], None] = self.run
        self._folder = folder
        (folder / "tools").mkdir()
        (folder / "tools" / "shutdown").symlink_to("/bin/true")
        (folder / "weights").mkdir()
        self.weights = folder / "weights" / "resnet50.safetensors"
        self.weights.write_bytes(b"weights")
        self.package = folder / "tagfleet-0.1.0-py3-none-any.whl"
        self.package.write_bytes(b"a wheel")
        self.name = cloud.name("photos-worker")
        self.base = self.ec2.register_image(Name=cloud.name("debian"), RootDeviceName="/dev/xvda")["ImageId"]

    def recipe(self) -> Recipe:
        return Recipe(
            name=self.name,
            base=self.base,
            type="c7i.large",
            role="worker",
            package=self.package,
            version="0.1.0",
            weights=[self.weights],
            environ={"TAGFLEET_POOLS__RESNET50__TAGGER": "it's a name"},
            deadline_s=60.0,
        )

    def bake(self, installer: str = INSTALLER, images: Ec2Images | None = None) -> BakedImage:
        script = self._folder / "install.sh"
        script.write_text(installer)
        return Bake(
            self.recipe(), images or self.images, self.store, self.said.append, installer=script, pause=self._pause
        ).run()

    def builders(self) -> list[tuple[str, str]]:
        """Id and state of every builder that there ever was."""
        filters = [{"Name": "tag-key", "Values": [BAKE_TAG]}, {"Name": "image-id", "Values": [self.base]}]
        found = self.ec2.describe_instances(Filters=filters)["Reservations"]
        return [(one["InstanceId"], one["State"]["Name"]) for many in found for one in many["Instances"]]

    def run(self, instance: str) -> None:
        found = self.ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")["UserData"]["Value"]
        environ = {**os.environ, "PATH": f"{self._folder / 'tools'}:{os.environ['PATH']}", "SEEN": str(self._folder)}
        script = base64.b64decode(found).decode()
        subprocess.run(["bash", "-c", script], env=environ, check=True, capture_output=True)

    def end(self, instance: str) -> None:
        self.ec2.terminate_instances(InstanceIds=[instance])

    def _pause(self, _seconds: float) -> None:
        for instance, state in self.builders():
            if state == "running":
                self.machine(instance)

    def nothing_is_left(self) -> bool:
        assert [state for _, state in self.builders() if state != "terminated"] == []
        assert list(self.store.list(layout.BAKES)) == []
        return True


@pytest.fixture
def kitchen(cloud: Cloud, tmp_path: Path) -> Kitchen:
    return Kitchen(cloud, tmp_path)


def test_a_bake_makes_an_image_and_leaves_nothing_else(kitchen: Kitchen, tmp_path: Path) -> None:
    image = kitchen.bake()
    assert (image.name, image.state) == (kitchen.name, "available")
    assert kitchen.images.images() == [image]
    assert (image.role, Account(kitchen.clients).image(image.id).runs_on) == ("worker", "cpu")
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[0] == "--package"
    assert Path(arguments[1]).name == kitchen.package.name
    assert arguments[2:7] == ["--role", "worker", "--cpu", "--end-machine", "--seal"]
    assert [Path(line).name for line in arguments[7:9]] == ["--weights", "resnet50.safetensors"]
    assert arguments[9] == "it's a name"
    assert kitchen.nothing_is_left()
    assert [line.split()[0] for line in kitchen.said] == ["uploading"] * 3 + ["builder", "installed", "image", "image"]


def test_an_installation_that_fails_says_its_last_lines(kitchen: Kitchen) -> None:
    with pytest.raises(BakeFailed, match=r"install\.sh failed on i-.*\n  no room left"):
        kitchen.bake(installer="echo no room left >&2; false")
    assert kitchen.nothing_is_left()
    assert kitchen.images.images() == []


def test_a_builder_that_is_ended_from_outside_is_noticed(kitchen: Kitchen) -> None:
    kitchen.machine = kitchen.end
    with pytest.raises(BakeFailed, match="is terminated and never reported"):
        kitchen.bake()
    assert kitchen.nothing_is_left()


def test_a_builder_that_never_reports_is_given_up(kitchen: Kitchen) -> None:
    kitchen.machine = lambda _: None
    moments = iter(range(0, 10_000, 20))
    recipe = kitchen.recipe()
    bake = Bake(
        recipe, kitchen.images, kitchen.store, kitchen.said.append, pause=lambda _: None, clock=lambda: next(moments)
    )
    with pytest.raises(BakeFailed, match="has not reported after 1 min"):
        bake.run()
    assert kitchen.nothing_is_left()


class Unlucky(Ec2Images):
    """EC2 cannot make an image, and does not answer when it is asked to remove it."""

    removable = True

    def image(self, id: str) -> BakedImage:
        return BakedImage(id, "unlucky", "failed", why="Client.InternalError")

    def remove(self, bake: str) -> None:
        if not self.removable:
            raise Unavailable("EC2 does not answer")
        super().remove(bake)


@pytest.mark.parametrize("removable", [True, False])
def test_a_half_made_image_is_removed_or_named(kitchen: Kitchen, cloud: Cloud, removable: bool) -> None:
    unlucky = Unlucky(cloud.clients, kitchen.bucket, kitchen.bucket)
    unlucky.removable = removable
    with pytest.raises(BakeFailed, match=r"is failed: Client\.InternalError"):
        kitchen.bake(images=unlucky)
    assert kitchen.nothing_is_left()
    assert [image.name for image in kitchen.images.images()] == ([] if removable else [kitchen.name])
    told = (
        f"could not remove the half-made image: EC2 does not answer; look for what is tagged {BAKE_TAG}={kitchen.name}"
    )
    assert (told in kitchen.said) is not removable


def test_a_bake_that_a_person_breaks_off_leaves_nothing(kitchen: Kitchen) -> None:
    def press(_: str) -> None:
        raise KeyboardInterrupt

    kitchen.machine = press
    with pytest.raises(KeyboardInterrupt):
        kitchen.bake()
    assert kitchen.nothing_is_left()


def test_a_base_may_be_named_by_a_parameter(kitchen: Kitchen, cloud: Cloud) -> None:
    cloud.client("ssm").put_parameter(Name="/images/base", Value=kitchen.base, Type="String", Overwrite=True)
    assert kitchen.images.base("resolve:ssm:/images/base") == kitchen.base
    with pytest.raises(Unavailable, match=r"there is no parameter /images/none in .*; name an image with --base"):
        kitchen.images.base("resolve:ssm:/images/none")


def test_a_passing_bucket_is_gone_afterwards(cloud: Cloud) -> None:
    with temporary_bucket(cloud.clients, "photos-bake") as name:
        cloud.client("s3").head_bucket(Bucket=name)
        assert name.startswith("photos-bake-")
    assert name not in [bucket["Name"] for bucket in cloud.client("s3").list_buckets()["Buckets"]]


def test_a_bucket_that_cannot_be_deleted_hides_no_failure(cloud: Cloud) -> None:
    def fail() -> None:
        with temporary_bucket(cloud.clients, "photos-bake") as bucket:
            cloud.client("s3").put_object(Bucket=bucket, Key="left", Body=b"")
            raise BakeFailed("no image")

    with pytest.raises(TagfleetError, match=r"^no image\n  cannot delete bucket photos-bake-.*; do it by hand"):
        fail()


@pytest.mark.parametrize(
    ("type", "says"),
    [
        ("c7i.xlarge", "c7i.xlarge has no GPU to check the image on"),
        ("p3.2xlarge", "no worker can start on p3.2xlarge"),
    ],
)
def test_an_image_for_gpus_is_baked_on_one_that_our_torch_can_run(kitchen: Kitchen, type: str, says: str) -> None:
    recipe = replace(kitchen.recipe(), gpu=True, type=type)
    with pytest.raises(BakeFailed, match=says):
        Bake(recipe, kitchen.images, kitchen.store, kitchen.said.append).run()
    assert not kitchen.said, "nothing is launched or uploaded"
