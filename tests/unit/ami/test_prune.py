"""Which images may go, and that they go with their snapshots."""

from __future__ import annotations

import json

from click.testing import CliRunner

from ami.aws.account import ROLE_TAG
from ami.aws.images import BAKE_TAG, BakedImage, superseded
from tagfleet.cli import cli
from tests.cloud import REGION, Cloud


def image(id: str, role: str = "worker") -> BakedImage:
    return BakedImage(id, f"name of {id}", "available", role=role)


def test_the_newest_of_each_role_and_what_is_in_use_stay() -> None:
    newest_first = [image("w4"), image("h2", "host"), image("w3"), image("w2"), image("h1", "host"), image("w1")]
    assert [old.id for old in superseded(newest_first, 1, ["w2"])] == ["w3", "h1", "w1"]
    assert superseded(newest_first, 4, []) == []


def test_pruned_images_are_gone_with_their_snapshots(cloud: Cloud) -> None:
    ec2, deployment = cloud.client("ec2"), cloud.name("pruned")
    [builder] = ec2.run_instances(ImageId=_some_image(cloud), MinCount=1, MaxCount=1)["Instances"]
    ids = []
    for _ in range(3):
        name = cloud.name("baked")
        tags = {BAKE_TAG: name, ROLE_TAG: "worker", "tagfleet:deployment": deployment}
        pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
        made = ec2.create_image(
            InstanceId=builder["InstanceId"], Name=name, TagSpecifications=[{"ResourceType": "image", "Tags": pairs}]
        )
        ids.append(made["ImageId"])
    ec2.terminate_instances(InstanceIds=[builder["InstanceId"]])
    snapshots = {id: _snapshot(cloud, id) for id in ids}
    _stack(cloud, deployment, uses=ids[0])

    def prune(*arguments: str, typed: str | None = None) -> str:
        arguments = ("ami", "prune", "--keep", "1", "--deployment", deployment, "--region", REGION, *arguments)
        done = CliRunner().invoke(cli, arguments, input=typed, env=cloud.environ)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    assert ids[0] not in prune(typed="n\n")
    assert _left(cloud, deployment) == set(ids)
    prune("--yes")
    left = _left(cloud, deployment)
    assert ids[0] in left
    assert left < set(ids)
    there = {each["SnapshotId"] for each in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}
    assert {id for id in ids if snapshots[id] in there} == left
    assert prune() == "there is nothing to remove\n"


def _some_image(cloud: Cloud) -> str:
    return str(cloud.client("ec2").describe_images()["Images"][0]["ImageId"])


def _snapshot(cloud: Cloud, id: str) -> str:
    [found] = cloud.client("ec2").describe_images(ImageIds=[id])["Images"]
    return str(found["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"])


def _stack(cloud: Cloud, name: str, *, uses: str) -> None:
    template = {
        "Parameters": {"Image": {"Type": "String"}},
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
    }
    cloud.client("cloudformation").create_stack(
        StackName=name,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": "Image", "ParameterValue": uses}],
    )


def _left(cloud: Cloud, deployment: str) -> set[str]:
    filters = [{"Name": "tag:tagfleet:deployment", "Values": [deployment]}]
    return {each["ImageId"] for each in cloud.client("ec2").describe_images(Filters=filters)["Images"]}
