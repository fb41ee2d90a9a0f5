"""The calls to EC2 and S3 for baking a machine image; `ami.bake` knows their order and what to undo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from ami.aws.account import ROLE_TAG, Account
from core.aws.clients import Clients
from core.aws.errors import code_of, translate_errors
from core.aws.fleet import DEPLOYMENT_TAG
from core.errors import Misconfigured

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import (
        EbsBlockDeviceTypeDef,
        FilterTypeDef,
        ImageTypeDef,
        InstanceTypeDef,
        RunInstancesRequestTypeDef,
        TagSpecificationTypeDef,
    )

BAKE_TAG = "tagfleet:bake"
"""Tags everything that a bake makes. A builder has none of the fleet's tags: the controller would end it as an
orphan."""
_FROM_PARAMETER = "resolve:ssm:"
_ENDED = ("shutting-down", "terminated")


@dataclass(frozen=True, slots=True)
class BakedImage:
    """`made_at` is in ISO 8601, as EC2 has it; `state` is pending, available or failed, and `why` says more."""

    id: str
    name: str
    state: str
    made_at: str = ""
    why: str = ""
    snapshots: tuple[str, ...] = ()
    role: str = ""
    """`worker` or `host`."""


class Ec2Images:
    """The images of one deployment. Every method raises Unavailable, and Misconfigured among it."""

    def __init__(self, clients: Clients, deployment: str, bucket: str) -> None:
        self._clients = clients
        self._deployment = deployment
        self._bucket = bucket

    def base(self, name: str) -> str:
        """Return an image's id: `name` itself, or the value of the parameter in `resolve:ssm:PARAMETER`."""
        if not name.startswith(_FROM_PARAMETER):
            return name
        parameter = name.removeprefix(_FROM_PARAMETER)
        with translate_errors(f"read the parameter {parameter}", "ssm"):
            try:
                return str(self._clients.of("ssm").get_parameter(Name=parameter)["Parameter"]["Value"])
            except ClientError as error:
                if code_of(error) == "ParameterNotFound":
                    raise Misconfigured(
                        f"there is no parameter {parameter} in {self._clients.region}; name an image with --base"
                    ) from None
                raise

    def fetch_url(self, key: str, expires_s: int) -> str:
        """Return an address by which anybody may read the object until it expires."""
        return self._url("get_object", key, expires_s)

    def report_url(self, key: str, expires_s: int) -> str:
        """Return an address by which anybody may write the object until it expires."""
        return self._url("put_object", key, expires_s)

    def launch_builder(self, bake: str, base: str, type: str, user_data: str, *, subnet: str, disk_gb: int) -> str:
        """Launch one instance and return its id. A request that boto3 repeats launches no second one."""
        image = Account(self._clients).image(base)
        if not image.runs_user_data:
            raise Misconfigured(
                f"image {base} is a worker's, which runs no script: bake from one without Tagfleet, see --base"
            )
        disk: EbsBlockDeviceTypeDef = {"VolumeSize": max(disk_gb, image.root_gib), "VolumeType": "gp3"}
        request: RunInstancesRequestTypeDef = {
            "ImageId": base,
            "InstanceType": type,  # type: ignore[typeddict-item]  # EC2 knows better than boto3's list
            "MinCount": 1,
            "MaxCount": 1,
            "ClientToken": bake,
            "UserData": user_data,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"},
            "BlockDeviceMappings": [{"DeviceName": image.root_device, "Ebs": disk}],
            "TagSpecifications": [_tags("instance", bake), _tags("volume", bake)],
        }
        if subnet:
            request["SubnetId"] = subnet
        with translate_errors(f"launch a builder ({type})", "ec2"):
            return self._clients.ec2.run_instances(**request)["Instances"][0]["InstanceId"]

    def state(self, instance: str) -> str:
        """Return EC2's state: pending, running, stopped and so on; `pending` also for one that is not listed yet."""
        with translate_errors(f"look at instance {instance}", "ec2"):
            try:
                answer = self._clients.ec2.describe_instances(InstanceIds=[instance])
            except ClientError as error:
                if code_of(error) == "InvalidInstanceID.NotFound":
                    return "pending"
                raise
        return str(answer["Reservations"][0]["Instances"][0]["State"]["Name"])

    def console(self, instance: str) -> str:
        """Return the end of its console output. EC2 has it some minutes late, or not at all."""
        with translate_errors(f"read the console of {instance}", "ec2"):
            return self._clients.ec2.get_console_output(InstanceId=instance).get("Output", "")  # as boto3 decoded it

    def stop(self, instance: str) -> None:
        with translate_errors(f"stop instance {instance}", "ec2"):
            self._clients.ec2.stop_instances(InstanceIds=[instance])

    def end_builders(self, bake: str) -> None:
        """Terminate all instances that `bake` launched, also one whose launch was never answered."""
        filters: list[FilterTypeDef] = [{"Name": f"tag:{BAKE_TAG}", "Values": [bake]}]
        with translate_errors("end the builder", "ec2"):
            pages = self._clients.ec2.get_paginator("describe_instances").paginate(Filters=filters)
            found = [one for page in pages for many in page["Reservations"] for one in many["Instances"]]
            if ids := [one["InstanceId"] for one in found if _lives(one)]:
                self._clients.ec2.terminate_instances(InstanceIds=ids)

    def create(self, instance: str, bake: str, tags: Mapping[str, str]) -> str:
        """Begin an image of a stopped instance, and return its id."""
        all_tags = {DEPLOYMENT_TAG: self._deployment, **tags}
        with translate_errors("create the image", "ec2"):
            return self._clients.ec2.create_image(
                InstanceId=instance,
                Name=bake,
                Description="A worker or host of Tagfleet, made by `tagfleet ami bake`",
                TagSpecifications=[_tags("image", bake, all_tags), _tags("snapshot", bake, all_tags)],
            )["ImageId"]

    def image(self, id: str) -> BakedImage:
        """Return the image's description; `pending` for one that is not listed yet."""
        with translate_errors(f"look at image {id}", "ec2"):
            try:
                found = self._clients.ec2.describe_images(ImageIds=[id])["Images"]
            except ClientError as error:
                if code_of(error) != "InvalidAMIID.NotFound":
                    raise
                found = []
        return _baked(found[0]) if found else BakedImage(id, "", "pending")

    def images(self) -> list[BakedImage]:
        """Return the images of this deployment, newest first."""
        filters: list[FilterTypeDef] = [
            {"Name": f"tag:{DEPLOYMENT_TAG}", "Values": [self._deployment]},
            {"Name": "tag-key", "Values": [BAKE_TAG]},
        ]
        with translate_errors("list the images", "ec2"):
            pages = self._clients.ec2.get_paginator("describe_images").paginate(Owners=["self"], Filters=filters)
            found = [_baked(image) for page in pages for image in page["Images"]]
        return sorted(found, key=lambda image: image.made_at, reverse=True)

    def remove(self, bake: str) -> None:
        """Deregister the image of `bake` in any state, and delete its snapshots."""
        filters: list[FilterTypeDef] = [{"Name": f"tag:{BAKE_TAG}", "Values": [bake]}]
        ec2 = self._clients.ec2
        with translate_errors("remove the image", "ec2"):
            images = ec2.describe_images(Owners=["self"], Filters=filters)["Images"]
            snapshots = {id for image in images for id in _baked(image).snapshots}
            for image in images:
                ec2.deregister_image(ImageId=image["ImageId"])
            listed = ec2.describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"]
            for snapshot in snapshots | {one["SnapshotId"] for one in listed}:
                ec2.delete_snapshot(SnapshotId=snapshot)

    def _url(self, operation: str, key: str, expires_s: int) -> str:
        with translate_errors("sign an address"):
            parameters = {"Bucket": self._bucket, "Key": key}
            return str(self._clients.s3.generate_presigned_url(operation, Params=parameters, ExpiresIn=expires_s))


def superseded(images: Sequence[BakedImage], keep: int, used: Sequence[str]) -> list[BakedImage]:
    """Return those of `images` (newest first) that are not in use by id, nor among the `keep` newest of their role."""
    newer: Counter[str] = Counter()
    found = []
    for image in images:
        newer[image.role] += 1
        if newer[image.role] > keep and image.id not in used:
            found.append(image)
    return found


def _lives(instance: InstanceTypeDef) -> bool:
    return instance["State"]["Name"] not in _ENDED


def _baked(image: ImageTypeDef) -> BakedImage:
    disks = (mapping.get("Ebs", {}).get("SnapshotId", "") for mapping in image.get("BlockDeviceMappings", ()))
    return BakedImage(
        id=image["ImageId"],
        name=image.get("Name", ""),
        state=str(image.get("State", "available")),
        made_at=image.get("CreationDate", ""),
        why=image.get("StateReason", {}).get("Message", ""),
        snapshots=tuple(id for id in disks if id),
        role=next((tag["Value"] for tag in image.get("Tags", []) if tag["Key"] == ROLE_TAG), ""),
    )


def _tags(resource: str, bake: str, more: Mapping[str, str] | None = None) -> TagSpecificationTypeDef:
    tags = {"Name": bake, BAKE_TAG: bake, **(more or {})}
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    return {"ResourceType": resource, "Tags": pairs}  # type: ignore[typeddict-item]  # boto3's list of resources
