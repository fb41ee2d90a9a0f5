"""A stack that `tagfleet aws up` creates in ministack, read back with boto3, matches the template."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ami import stack
from config import settings as config
from config.settings import Document
from tagfleet.deployment.shared_settings import fit_for_aws
from tagfleet.deployment.stack_options import template_shape
from tests.cloud import Cloud
from tests.stack.commands import Commands, deployment_in, image_of
from tests.stack.resolving import Resolved

NAME = "built"


@dataclass(frozen=True)
class Built:
    cloud: Cloud
    run: Commands
    template: Resolved

    def read(self, service: str, operation: str, **arguments: Any) -> Any:
        return getattr(self.cloud.client(service), operation)(**arguments)


@pytest.fixture(scope="module")
def built(second_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Built:
    run = deployment_in(second_cloud, NAME, tmp_path_factory.mktemp("home"))
    done = run("aws", "up", "--image", image_of(second_cloud), "--upload-days", "30", "--source", "archive", "--yes")
    assert done.exit_code == 0, done.output
    cloudformation = second_cloud.client("cloudformation")
    found = cloudformation.describe_stacks(StackName=NAME)["Stacks"][0]
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in found["Parameters"]}
    resources = cloudformation.describe_stack_resources(StackName=NAME)["StackResources"]
    account = second_cloud.client("sts").get_caller_identity()["Account"]
    template = Resolved(
        stack.render(template_shape(fit_for_aws(config.load({})), parameters)),
        parameters,
        NAME,
        account=account,
        physical={each["LogicalResourceId"]: each["PhysicalResourceId"] for each in resources},
    )
    return Built(second_cloud, run, template)


def same(found: object, wanted: object) -> bool:
    """Equal, where AWS may have added to `wanted`, and have made strings of numbers and truth values."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(key in found and same(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(same, found, wanted))
    return str(found).lower() == str(wanted).lower()


def test_every_resource_whose_condition_holds_is_there_and_no_other(built: Built) -> None:
    assert set(built.template.physical) == set(built.template.there())


@pytest.mark.parametrize("bucket", ["InputBucket", "OutputBucket"])
def test_buckets(built: Built, bucket: str) -> None:
    wanted = built.template.properties(bucket)
    name = {"Bucket": wanted["BucketName"]}
    block = built.read("s3", "get_public_access_block", **name)["PublicAccessBlockConfiguration"]
    assert block == wanted["PublicAccessBlockConfiguration"]
    encryption = built.read("s3", "get_bucket_encryption", **name)["ServerSideEncryptionConfiguration"]
    assert encryption["Rules"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    ownership = built.read("s3", "get_bucket_ownership_controls", **name)["OwnershipControls"]
    assert ownership == wanted["OwnershipControls"]
    policy = json.loads(built.read("s3", "get_bucket_policy", **name)["Policy"])
    assert policy == built.template.properties(f"{bucket}Policy")["PolicyDocument"]


def test_what_browsers_may_send_and_what_dropped_files_tell(built: Built) -> None:
    wanted = built.template.properties("InputBucket")
    name = {"Bucket": wanted["BucketName"]}
    (rule,) = built.read("s3", "get_bucket_cors", **name)["CORSRules"]
    assert (rule["AllowedMethods"], rule["AllowedOrigins"]) == (
        ["POST"],
        ["http://127.0.0.1:8000", "http://localhost:8000"],
    )
    (told,) = built.read("s3", "get_bucket_notification_configuration", **name)["QueueConfigurations"]
    assert told["QueueArn"] == wanted["NotificationConfiguration"]["QueueConfigurations"][0]["Queue"]
    assert told["Events"] == ["s3:ObjectCreated:*"]
    (prefix,) = told["Filter"]["Key"]["FilterRules"]
    assert (prefix["Name"].lower(), prefix["Value"]) == ("prefix", "images/")


def test_a_dropped_file_is_a_message_and_an_upload_is_none(built: Built) -> None:
    s3, sqs = built.cloud.client("s3"), built.cloud.client("sqs")
    bucket = built.template.properties("InputBucket")["BucketName"]
    queue = sqs.get_queue_url(QueueName=f"{NAME}-jobs-resnet50")["QueueUrl"]
    for key in ("uploads/bat_1/img_1", "images/cat.jpg"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"bytes")
    messages: list[dict[str, str]] = []
    while received := sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=0).get("Messages"):
        messages += received
    bodies = [json.loads(message["Body"]) for message in messages]
    keys = [record["s3"]["object"]["key"] for body in bodies for record in body.get("Records", [])]
    assert keys == ["images/cat.jpg"]


@pytest.mark.parametrize("queue", ["JobsResnet50", "DeadJobsResnet50", "Results", "DeadResults"])
def test_queues(built: Built, queue: str) -> None:
    wanted = built.template.properties(queue)
    url = built.read("sqs", "get_queue_url", QueueName=wanted["QueueName"])["QueueUrl"]
    found = built.read("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (found["MessageRetentionPeriod"], found["SqsManagedSseEnabled"].lower()) == ("1209600", "true")
    if "RedrivePolicy" in wanted:
        assert same(json.loads(found["RedrivePolicy"]), wanted["RedrivePolicy"])
        assert (found["VisibilityTimeout"], found["ReceiveMessageWaitTimeSeconds"]) == ("60", "20")
    if queue == "JobsResnet50":
        assert json.loads(found["Policy"]) == built.template.properties("DropsPolicy")["PolicyDocument"]


@pytest.mark.parametrize("tier", ["Web", "Collector", "Controller", "Worker"])
def test_policies_of_the_tiers(built: Built, tier: str) -> None:
    arn = built.template.physical[f"{tier}Policy"]
    version = built.read("iam", "get_policy", PolicyArn=arn)["Policy"]["DefaultVersionId"]
    found = built.read("iam", "get_policy_version", PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    wanted = built.template.properties(f"{tier}Policy")["PolicyDocument"]
    assert (json.loads(found) if isinstance(found, str) else found) == wanted
    role = built.template.physical[f"{tier}Role"]
    attached = built.read("iam", "list_attached_role_policies", RoleName=role)["AttachedPolicies"]
    assert [each["PolicyArn"] for each in attached] == [arn]
    profile_name = built.template.physical[f"{tier}Profile"].rpartition("/")[2]
    profile = built.read("iam", "get_instance_profile", InstanceProfileName=profile_name)
    assert [each["RoleName"] for each in profile["InstanceProfile"]["Roles"]] == [role]


def test_the_launch_template_of_workers(built: Built) -> None:
    wanted = built.template.properties("WorkersResnet50")["LaunchTemplateData"]
    (version,) = built.read(
        "ec2", "describe_launch_template_versions", LaunchTemplateName=f"{NAME}-resnet50", Versions=["$Latest"]
    )["LaunchTemplateVersions"]
    found = version["LaunchTemplateData"]
    assert base64.b64decode(found["UserData"]).decode() == wanted["UserData"]
    for part in wanted.keys() - {"UserData", "IamInstanceProfile"}:
        assert same(found[part], wanted[part]), part
    (group,) = built.read("ec2", "describe_security_groups", GroupIds=found["SecurityGroupIds"])["SecurityGroups"]
    assert group["IpPermissions"] == []


def test_alarms(built: Built) -> None:
    alarms = {each["AlarmName"]: each for each in built.read("cloudwatch", "describe_alarms")["MetricAlarms"]}
    ours = [name for name in built.template.there() if _type(built, name) == "AWS::CloudWatch::Alarm"]
    assert len(ours) == 7
    for logical in ours:
        wanted = built.template.properties(logical)
        found = alarms[wanted["AlarmName"]]
        for part in wanted.keys() - {"Threshold", "Metrics"}:
            assert same(found[part], wanted[part]), (logical, part)
        assert found["Threshold"] == float(wanted["Threshold"])


def test_logs_are_kept_for_as_long_as_was_said_and_the_dashboard_can_be_drawn(built: Built) -> None:
    groups = built.read("logs", "describe_log_groups", logGroupNamePrefix=f"/tagfleet/{NAME}/")["logGroups"]
    assert {group["logGroupName"]: group["retentionInDays"] for group in groups} == {
        f"/tagfleet/{NAME}/workers": 30,
        f"/tagfleet/{NAME}/hosts": 30,
    }
    body = json.loads(built.read("cloudwatch", "get_dashboard", DashboardName=NAME)["DashboardBody"])
    assert body == json.loads(built.template.properties("Dashboard")["DashboardBody"])


def test_every_machine_finds_the_settings(built: Built) -> None:
    bucket = built.template.properties("OutputBucket")["BucketName"]
    with built.read("s3", "get_object", Bucket=bucket, Key="fleet/settings.toml")["Body"] as body:
        settings = config.load({}, file=Document("settings.toml", body.read().decode()))
    assert (settings.backend, settings.aws.deployment, settings.aws.output_bucket) == ("aws", NAME, bucket)
    assert settings.aws.input_bucket == built.template.properties("InputBucket")["BucketName"]
    assert settings.aws.subnets.split() == built.template.value({"Ref": "Subnets"})
    assert settings.controller.tick_s == 5.0
    assert settings.pools["resnet50"].fallback == ""


def test_a_second_up_changes_nothing_and_a_wish_only_what_it_is_about(built: Built) -> None:
    assert "the stack is up to date" in built.run("aws", "up", "--yes").output
    refused = built.run("aws", "up", "--upload-days", "7", typed="n\n")
    assert "InputBucket" in refused.output
    assert "WorkersResnet50" not in refused.output
    assert refused.output.endswith("nothing was changed\n")


def test_settings_that_would_change_are_shown_and_asked_about(built: Built) -> None:
    refused = built.run("aws", "up", "--max-workers", "3", typed="n\n")
    assert "setting controller.max_workers: 10 becomes 3\n" in refused.output
    assert refused.output.endswith("nothing was changed\n")
    assert "max_workers" not in built.run("aws", "up", "--yes").output


def test_status_says_what_was_changed_by_hand(built: Built) -> None:
    assert "drift: none" in built.run("aws", "status").output


def test_down_ends_the_stack_and_keeps_the_data_unless_its_name_is_typed(
    second_cloud: Cloud, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = deployment_in(second_cloud, "short", tmp_path_factory.mktemp("home"))
    assert run("aws", "up", "--image", image_of(second_cloud), "--yes").exit_code == 0
    s3 = second_cloud.client("s3")
    kept = [each["Name"] for each in s3.list_buckets()["Buckets"] if each["Name"].startswith("short-")]
    wrong = run("aws", "down", "--delete-data", "--drain-s", "0", typed="tagfleet\n")
    assert str(wrong.exception) == "'tagfleet' is not the deployment's name; nothing was deleted"
    assert run("aws", "down", "--drain-s", "0", typed="n\n").output.endswith("nothing was deleted\n")
    done = run("aws", "down", "--drain-s", "0", "--yes")
    assert "stack short is gone" in done.output
    for bucket in kept:
        assert f"bucket {bucket} remains" in done.output
        s3.head_bucket(Bucket=bucket)
    with pytest.raises(ClientError):
        second_cloud.client("sqs").get_queue_url(QueueName="short-results")
    assert "there is no stack short in eu-central-1" in str(run("aws", "status").exception)


def _type(built: Built, logical: str) -> str:
    return str(built.template.template["Resources"][logical]["Type"])
