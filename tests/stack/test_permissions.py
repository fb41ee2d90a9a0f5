"""What the template's policies allow each tier, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ami import stack
from core.aws.metrics import NAMESPACE
from tests.stack import iam
from tests.stack.resolving import Resolved

SHAPE = stack.TemplateOptions(
    pools=("resnet50", "efficientnet-lite0"),
    namespace=NAMESPACE,
    subnets=("subnet-1a", "subnet-1b"),
    sources=("archive",),
)
STACK = Resolved(
    stack.render(SHAPE),
    {"Hosts": "two", "Image": "ami-1", "Subnets": "subnet-1a,subnet-1b", "Vpc": "vpc-1"},
    "tagfleet",
    physical={"WorkerGroup": "sg-worker"},
)
IN = "arn:aws:s3:::tagfleet-in-123456789012-eu-central-1"
OUT = "arn:aws:s3:::tagfleet-out-123456789012-eu-central-1"
SQS = "arn:aws:sqs:eu-central-1:123456789012:tagfleet"
EC2 = "arn:aws:ec2:eu-central-1:123456789012"
LAUNCHED = {
    "ec2:LaunchTemplate": f"{EC2}:launch-template/lt-resnet50",
    "ec2:IsLaunchTemplateResource": "true",
    "aws:RequestTag/tagfleet:deployment": "tagfleet",
}
A_TEMPLATE = {"aws:ResourceTag/tagfleet:deployment": "tagfleet", "aws:ResourceTag/tagfleet:pool": "resnet50"}
TAGGED = {"aws:RequestTag/tagfleet:deployment": "tagfleet", "ec2:CreateAction": "RunInstances"}
A_HOST = {"aws:ResourceTag/tagfleet:deployment": "tagfleet"}
"""Hosts bear their stack's tags."""
A_WORKER = A_HOST | {"aws:ResourceTag/tagfleet:token": "tok_1"}

WEB = [
    ("s3:PutObject", f"{IN}/uploads/bat_1/img_1", {}),
    ("s3:GetObject", f"{IN}/uploads/bat_1/img_1", {}),
    ("s3:PutObject", f"{IN}/thumbnails/bat_1/img_1.jpg", {}),
    ("s3:AbortMultipartUpload", f"{IN}/uploads/bat_1/img_1", {}),
    ("s3:GetObject", f"{IN}/images/cat.jpg", {}),
    ("s3:GetObject", "arn:aws:s3:::archive/2024/cat.jpg", {}),
    ("s3:GetObjectVersion", f"{IN}/images/cat.jpg", {}),
    ("s3:GetObjectVersion", "arn:aws:s3:::archive/2024/cat.jpg", {}),
    ("s3:ListBucket", OUT, {}),
    ("s3:PutObject", f"{OUT}/results/bat_1/cancelled", {}),
    ("s3:DeleteObject", f"{OUT}/results/bat_1/img_1.json", {}),
    ("s3:GetObject", f"{OUT}/fleet/settings.toml", {}),
    ("s3:PutObject", f"{OUT}/fleet/paused", {}),
    ("s3:PutObject", f"{OUT}/fleet/drain/i-1", {}),
    ("s3:PutObject", f"{OUT}/fleet/cap.json", {}),
    ("s3:DeleteObject", f"{OUT}/fleet/cap.json", {}),
    ("sqs:SendMessage", f"{SQS}-jobs-efficientnet-lite0", {}),
    ("sqs:GetQueueAttributes", f"{SQS}-results-dead", {}),
    ("sqs:ReceiveMessage", f"{SQS}-jobs-resnet50-dead", {}),
    ("sqs:DeleteMessage", f"{SQS}-jobs-resnet50-dead", {}),
    ("s3:GetObject", f"{OUT}/models/coco80/1a2b3c4d/model.json", {}),
    ("s3:PutObject", f"{OUT}/models/coco80/default.json", {}),
]
COLLECTOR = [
    ("sqs:ReceiveMessage", f"{SQS}-results", {}),
    ("sqs:DeleteMessage", f"{SQS}-results", {}),
    ("sqs:ChangeMessageVisibility", f"{SQS}-results", {}),
    ("sqs:SendMessage", f"{SQS}-jobs-resnet50", {}),
    ("sqs:ReceiveMessage", f"{SQS}-jobs-resnet50-dead", {}),
    ("s3:GetObject", f"{OUT}/results/bat_1/img_1.json", {}),
    ("s3:DeleteObject", f"{IN}/uploads/bat_1/img_1", {}),
    ("s3:DeleteObject", f"{IN}/thumbnails/bat_1/img_1.jpg", {}),
    ("s3:GetObject", f"{OUT}/fleet/settings.toml", {}),
    ("s3:GetObject", f"{OUT}/fleet/workers/i-1.json", {}),
]
CONTROLLER = [
    ("ec2:DescribeInstances", "*", {}),
    ("ec2:DescribeSpotPriceHistory", "*", {}),
    ("ec2:DescribeSubnets", "*", {}),
    ("ec2:RunInstances", f"{EC2}:instance/*", LAUNCHED),
    ("ec2:RunInstances", f"{EC2}:volume/*", LAUNCHED),
    ("ec2:RunInstances", f"{EC2}:network-interface/*", LAUNCHED),
    ("ec2:RunInstances", f"{EC2}:subnet/subnet-1b", LAUNCHED | {"ec2:IsLaunchTemplateResource": "false"}),
    ("ec2:RunInstances", f"{EC2}:security-group/sg-worker", LAUNCHED),
    ("ec2:RunInstances", f"{EC2}:launch-template/lt-resnet50", A_TEMPLATE),
    ("ec2:RunInstances", "arn:aws:ec2:eu-central-1::image/ami-1", LAUNCHED),
    ("ec2:CreateTags", f"{EC2}:instance/*", TAGGED),
    ("ec2:TerminateInstances", f"{EC2}:instance/i-1", A_WORKER),
    ("iam:PassRole", "arn:aws:iam::123456789012:role/WorkerRole", {"iam:PassedToService": "ec2.amazonaws.com"}),
    ("sqs:GetQueueAttributes", f"{SQS}-jobs-resnet50", {}),
    ("sqs:GetQueueAttributes", f"{SQS}-jobs-resnet50-dead", {}),
    ("s3:PutObject", f"{OUT}/fleet/controller.json", {}),
    ("s3:PutObject", f"{OUT}/fleet/history.json", {}),
    ("s3:PutObject", f"{OUT}/fleet/changes.json", {}),
    ("s3:PutObject", f"{OUT}/fleet/arrivals.json", {}),
    ("s3:PutObject", f"{OUT}/fleet/cap.json", {}),
    ("s3:PutObject", f"{OUT}/fleet/decisions/resnet50.json", {}),
    ("s3:DeleteObject", f"{OUT}/fleet/workers/i-1.json", {}),
    ("s3:ListBucket", OUT, {}),
    ("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": NAMESPACE}),
]
WORKER = [
    ("sqs:ReceiveMessage", f"{SQS}-jobs-resnet50", {}),
    ("sqs:DeleteMessage", f"{SQS}-jobs-resnet50", {}),
    ("sqs:ChangeMessageVisibility", f"{SQS}-jobs-resnet50", {}),
    ("sqs:SendMessage", f"{SQS}-results", {}),
    ("s3:GetObject", f"{IN}/uploads/bat_1/img_1", {}),
    ("s3:GetObject", f"{IN}/images/cat.jpg", {}),
    ("s3:GetObject", "arn:aws:s3:::archive/2024/cat.jpg", {}),
    ("s3:GetObjectVersion", f"{IN}/images/cat.jpg", {}),
    ("s3:GetObjectVersion", "arn:aws:s3:::archive/2024/cat.jpg", {}),
    ("s3:GetObject", f"{OUT}/models/resnet50/1/model.safetensors", {}),
    ("s3:GetObject", f"{OUT}/fleet/settings.toml", {}),
    ("s3:GetObject", f"{OUT}/fleet/controller.json", {}),
    ("s3:PutObject", f"{OUT}/results/bat_1/img_1.json", {}),
    ("s3:GetObject", f"{OUT}/adaptive/mobilenetv2/state", {}),
    ("s3:PutObject", f"{OUT}/adaptive/mobilenetv2/state", {}),
    ("s3:PutObject", f"{OUT}/adaptive/mobilenetv2/examples/img_1.npy", {}),
    ("s3:PutObject", f"{OUT}/fleet/workers/i-1.json", {}),
    ("s3:ListBucket", OUT, {}),
]
_WITHOUT_RESOURCES = ("cloudwatch:PutMetricData", "elasticloadbalancing:DescribeTargetHealth")
LOGS = "arn:aws:logs:eu-central-1:123456789012:log-group:/tagfleet/tagfleet"
STACKS = "arn:aws:cloudformation:eu-central-1:123456789012:stack"
FORBIDDEN = [
    ("Web", "ec2:RunInstances", f"{EC2}:instance/*", LAUNCHED),
    ("Web", "sqs:ReceiveMessage", f"{SQS}-jobs-resnet50", {}),
    ("Web", "s3:PutObject", f"{OUT}/fleet/controller.json", {}),
    ("Web", "s3:PutObject", f"{OUT}/fleet/settings.toml", {}),
    ("Web", "s3:PutObject", f"{OUT}/models/resnet50/1/model.safetensors", {}),
    ("Web", "s3:DeleteObject", f"{IN}/images/cat.jpg", {}),
    ("Web", "s3:DeleteObject", "arn:aws:s3:::archive/2024/cat.jpg", {}),
    ("Web", "s3:GetObject", "arn:aws:s3:::somebody-elses/cat.jpg", {}),
    ("Web", "s3:GetObjectVersion", f"{IN}/uploads/bat_1/img_1", {}),
    ("Worker", "s3:GetObjectVersion", f"{IN}/uploads/bat_1/img_1", {}),
    ("Collector", "s3:PutObject", f"{OUT}/fleet/paused", {}),
    ("Collector", "s3:PutObject", f"{OUT}/fleet/cap.json", {}),
    ("Web", "s3:PutObject", f"{OUT}/fleet/changes.json", {}),
    ("Collector", "sqs:SendMessage", f"{SQS}-results", {}),
    ("Collector", "s3:DeleteObject", f"{IN}/images/cat.jpg", {}),
    ("Collector", "ec2:TerminateInstances", f"{EC2}:instance/i-1", A_WORKER),
    ("Controller", "ec2:TerminateInstances", f"{EC2}:instance/i-1", {}),
    ("Controller", "ec2:TerminateInstances", f"{EC2}:instance/i-1", A_HOST),
    (
        "Controller",
        "ec2:TerminateInstances",
        f"{EC2}:instance/i-1",
        A_WORKER | {"aws:ResourceTag/tagfleet:deployment": "other"},
    ),
    ("Controller", "ec2:RunInstances", f"{EC2}:instance/*", {"aws:RequestTag/tagfleet:deployment": "tagfleet"}),
    ("Controller", "ec2:RunInstances", f"{EC2}:instance/*", LAUNCHED | {"aws:RequestTag/tagfleet:deployment": "other"}),
    ("Controller", "ec2:RunInstances", f"{EC2}:instance/*", {k: v for k, v in LAUNCHED.items() if "Tag" not in k}),
    ("Controller", "ec2:RunInstances", f"{EC2}:launch-template/lt-somebody-elses", {}),
    ("Controller", "ec2:RunInstances", f"{EC2}:launch-template/lt-host", A_HOST),
    (
        "Controller",
        "ec2:RunInstances",
        f"{EC2}:launch-template/lt-other",
        A_TEMPLATE | {"aws:ResourceTag/tagfleet:deployment": "other"},
    ),
    ("Controller", "ec2:RunInstances", f"{EC2}:subnet/subnet-elsewhere", LAUNCHED),
    ("Controller", "ec2:RunInstances", f"{EC2}:security-group/sg-open", LAUNCHED),
    (
        "Controller",
        "ec2:RunInstances",
        "arn:aws:ec2:eu-central-1::image/ami-1",
        LAUNCHED | {"ec2:IsLaunchTemplateResource": "false"},
    ),
    ("Controller", "ec2:RunInstances", f"{EC2}:key-pair/mine", LAUNCHED),
    ("Controller", "ec2:RunInstances", f"{EC2}:key-pair/mine", LAUNCHED | {"ec2:IsLaunchTemplateResource": "false"}),
    ("Controller", "ec2:CreateLaunchTemplateVersion", f"{EC2}:launch-template/lt-resnet50", A_TEMPLATE),
    ("Controller", "ec2:ModifyInstanceAttribute", f"{EC2}:instance/i-1", A_WORKER),
    ("Controller", "ec2:AssociateIamInstanceProfile", f"{EC2}:instance/i-1", A_WORKER),
    ("Controller", "ec2:StartInstances", f"{EC2}:instance/i-1", A_WORKER),
    ("Controller", "ec2:GetPasswordData", f"{EC2}:instance/i-1", A_WORKER),
    ("Controller", "ssm:SendCommand", f"{EC2}:instance/i-1", A_WORKER),
    ("Worker", "sts:AssumeRole", "arn:aws:iam::123456789012:role/HostRole", {}),
    (
        "Worker",
        "iam:PassRole",
        "arn:aws:iam::123456789012:role/WorkerRole",
        {"iam:PassedToService": "ec2.amazonaws.com"},
    ),
    ("Worker", "ec2:TerminateInstances", f"{EC2}:instance/i-1", A_WORKER),
    ("Controller", "ec2:CreateTags", f"{EC2}:instance/i-1", {"aws:RequestTag/tagfleet:deployment": "tagfleet"}),
    (
        "Controller",
        "iam:PassRole",
        "arn:aws:iam::123456789012:role/HostRole",
        {"iam:PassedToService": "ec2.amazonaws.com"},
    ),
    (
        "Controller",
        "iam:PassRole",
        "arn:aws:iam::123456789012:role/Admin",
        {"iam:PassedToService": "ec2.amazonaws.com"},
    ),
    ("Controller", "s3:GetObject", f"{IN}/uploads/bat_1/img_1", {}),
    ("Controller", "s3:PutObject", f"{OUT}/fleet/settings.toml", {}),
    ("Controller", "sqs:ReceiveMessage", f"{SQS}-jobs-resnet50", {}),
    ("Controller", "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "AWS/EC2"}),
    ("Worker", "s3:PutObject", f"{IN}/uploads/bat_1/img_1", {}),
    ("Worker", "s3:DeleteObject", f"{IN}/uploads/bat_1/img_1", {}),
    ("Worker", "s3:DeleteObject", f"{OUT}/results/bat_1/img_1.json", {}),
    ("Worker", "s3:PutObject", f"{OUT}/models/resnet50/1/model.safetensors", {}),
    ("Worker", "s3:PutObject", f"{OUT}/models/coco80/default.json", {}),
    ("Web", "s3:PutObject", f"{OUT}/models/coco80/1a2b3c4d/model.json", {}),
    ("Worker", "s3:PutObject", f"{OUT}/fleet/controller.json", {}),
    ("Worker", "s3:PutObject", f"{OUT}/fleet/settings.toml", {}),
    ("Worker", "sqs:ReceiveMessage", f"{SQS}-results", {}),
    ("Worker", "sqs:ReceiveMessage", "arn:aws:sqs:eu-central-1:123456789012:other-jobs-resnet50", {}),
    ("Worker", "sqs:DeleteQueue", f"{SQS}-jobs-resnet50", {}),
    ("Worker", "ec2:RunInstances", f"{EC2}:instance/*", LAUNCHED),
    ("Worker", "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": NAMESPACE}),
    ("Worker", "secretsmanager:GetSecretValue", "CatalogSecret", {}),
]


def _of(tier: str) -> list[dict[str, Any]]:
    """Every policy of the tier's role."""
    role = STACK.template["Resources"][f"{tier}Role"]["Properties"]
    managed = [STACK.properties(each["Ref"])["PolicyDocument"] for each in role["ManagedPolicyArns"] if "Ref" in each]
    inline = [STACK.value(each["PolicyDocument"]) for each in role.get("Policies", [])]
    attached = [
        STACK.properties(name)["PolicyDocument"]
        for name, resource in STACK.template["Resources"].items()
        if resource["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy")
        and {"Ref": f"{tier}Role"} in resource["Properties"].get("Roles", ())
    ]
    return [*managed, *inline, *attached]


@pytest.mark.parametrize(
    ("tier", "action", "resource", "context"),
    [
        (tier, *row)
        for tier, rows in {"Web": WEB, "Collector": COLLECTOR, "Controller": CONTROLLER, "Worker": WORKER}.items()
        for row in rows
    ],
)
def test_a_tier_may_do_its_work(tier: str, action: str, resource: str, context: dict[str, str]) -> None:
    assert iam.allowed(_of(tier), action, resource, context)


@pytest.mark.parametrize(("tier", "action", "resource", "context"), FORBIDDEN)
def test_a_tier_may_do_nothing_else(tier: str, action: str, resource: str, context: dict[str, str]) -> None:
    assert not iam.allowed(_of(tier), action, resource, context)


@pytest.mark.parametrize("row", [*WEB, *COLLECTOR, *CONTROLLER], ids=lambda row: f"{row[0]} {row[1]}")
def test_a_host_may_do_what_its_three_tiers_may(row: tuple[str, str, dict[str, str]]) -> None:
    assert iam.allowed(_of("Host"), *row)


@pytest.mark.parametrize("tier", ["Web", "Collector", "Controller", "Worker"])
def test_policies_have_room_for_as_many_pools_as_there_may_be(tier: str) -> None:
    """6,144 characters of a managed policy, without its white space; a role takes ten of them."""
    pools = [f"pool-with-a-name-{number}" for number in range(stack.MOST_POOLS)]
    subnets = [f"subnet-0123456789abcdef{number}" for number in range(6)]
    sources = [f"a-bucket-of-others-with-a-name-{number}" for number in range(10)]
    found = Resolved(
        stack.render(replace(SHAPE, pools=pools, subnets=subnets, sources=sources)),
        STACK.parameters | {"Subnets": ",".join(subnets)},
        "d" * 30,
        region="ap-northeast-1",
        physical={"WorkerGroup": "sg-0123456789abcdef0"},
    )
    text = json.dumps(found.properties(f"{tier}Policy")["PolicyDocument"])
    assert len("".join(text.split())) <= 6144


@pytest.mark.parametrize(("tier", "group", "other"), [("Worker", "workers", "hosts"), ("Host", "hosts", "workers")])
def test_a_machine_writes_its_own_logs_and_reads_none(tier: str, group: str, other: str) -> None:
    for action, stream in {"logs:CreateLogStream": "i-1/web", "logs:PutLogEvents": "i-1/web"}.items():
        assert iam.allowed(_of(tier), action, f"{LOGS}/{group}:log-stream:{stream}", {})
        assert not iam.allowed(_of(tier), action, f"{LOGS}/{other}:log-stream:{stream}", {})
        assert not iam.allowed(_of("Web"), action, f"{LOGS}/{group}:log-stream:{stream}", {})
    for action in ("logs:GetLogEvents", "logs:DeleteLogStream", "logs:CreateLogGroup", "logs:PutRetentionPolicy"):
        assert not iam.allowed(_of(tier), action, f"{LOGS}/{group}:log-stream:i-1/web", {})


def test_a_host_alone_signals_its_own_stack_alone() -> None:
    for tier in ("Host", "Web", "Collector", "Controller", "Worker"):
        assert iam.allowed(_of(tier), "cloudformation:SignalResource", f"{STACKS}/tagfleet/1", {}) is (tier == "Host")
    assert not iam.allowed(_of("Host"), "cloudformation:SignalResource", f"{STACKS}/tagfleet-2/1", {})
    assert not iam.allowed(_of("Host"), "cloudformation:UpdateStack", f"{STACKS}/tagfleet/1", {})


def test_a_host_alone_reads_the_password() -> None:
    for tier in ("Host", "Web", "Collector", "Controller", "Worker"):
        may = iam.allowed(_of(tier), "secretsmanager:GetSecretValue", "CatalogSecret", {})
        assert may is (tier == "Host")


@pytest.mark.parametrize("tier", ["Web", "Collector", "Controller", "Worker", "Host"])
def test_no_statement_is_wide_open(tier: str) -> None:
    """Only calls that know no resource have none, and none allows all of a service."""
    for policy in _of(tier):
        for statement in policy["Statement"]:
            actions = iam.listed(statement["Action"])
            assert not any(action.endswith("*") for action in actions), statement["Sid"]
            if "*" in iam.listed(statement["Resource"]):
                assert all(a.startswith("ec2:Describe") or a in _WITHOUT_RESOURCES for a in actions)


@pytest.mark.parametrize("tier", ["Web", "Collector", "Controller", "Host"])
def test_whoever_may_assume_roles_in_the_account_may_take_on_a_tier(tier: str) -> None:
    trusted = [each["Principal"] for each in STACK.properties(f"{tier}Role")["AssumeRolePolicyDocument"]["Statement"]]
    assert trusted == [{"Service": "ec2.amazonaws.com"}, {"AWS": "arn:aws:iam::123456789012:root"}]


def test_only_instances_are_workers() -> None:
    trusted = [each["Principal"] for each in STACK.properties("WorkerRole")["AssumeRolePolicyDocument"]["Statement"]]
    assert trusted == [{"Service": "ec2.amazonaws.com"}]
