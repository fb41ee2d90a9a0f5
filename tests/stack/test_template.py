"""The template passes cfn-lint, has one part for each pool, and contains what every deployment needs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from cfnlint import lint
from hypothesis import given, settings
from hypothesis import strategies as st

from ami import stack
from core.aws.metrics import NAMESPACE
from core.errors import TagfleetError
from core.fleet.metrics import Metric
from tagfleet.cli.signal_ready import command as signal_ready
from tests.stack import iam
from tests.stack.resolving import Resolved

ONE = stack.TemplateOptions(pools=("resnet50",), namespace=NAMESPACE, visibility_timeout_s=45, max_receives=7)
TWO = ONE.with_pools(("resnet50", "efficientnet-lite0"))
PARAMETERS = {"Image": "ami-1", "HostImage": "ami-2", "Subnets": "subnet-1a,subnet-1b", "Vpc": "vpc-1"}


def filled_in(shape: stack.TemplateOptions = ONE, **parameters: str) -> Resolved:
    return Resolved(stack.render(shape), {**PARAMETERS, **parameters}, "tagfleet")


def test_cfn_lint_finds_nothing(tmp_path: Path) -> None:
    text = stack.body(stack.render(TWO))
    (tmp_path / "stack.json").write_text(text)  # for the one who looks for the line
    assert [str(match) for match in lint(text, regions=["eu-central-1"])] == []


def test_no_placeholder_is_left() -> None:
    assert re.findall(r"<(?!AWS::)[A-Za-z_]+>", json.dumps(stack.render(TWO))) == []


def test_every_pool_has_its_own_parts() -> None:
    resources = stack.render(TWO)["Resources"]
    for part in ("Jobs", "DeadJobs", "Workers", "OldMessages", "DeadLetters", "NoWorker", "FailedBoots"):
        assert {f"{part}Resnet50", f"{part}EfficientnetLite0"} <= set(resources)


@pytest.mark.parametrize(
    ("pools", "said"),
    [
        (("a-1", "a1"), "cannot be told apart"),
        (("a", "b", "a-dead"), "'a-dead' would have the queue of the dead letters of 'a'"),
        (("a", "host"), "'host' is what the launch template of hosts is called"),
        (("a", "b" * 40), "longer than the 39"),
        ([f"p{number}" for number in range(11)], "11 pools are more than the 10"),
    ],
)
def test_pools_that_aws_would_not_take_are_refused_before_anything_is_made(pools: Sequence[str], said: str) -> None:
    with pytest.raises(TagfleetError, match=said):
        stack.render(ONE.with_pools(pools))


def test_only_dropped_files_of_the_bucket_reach_the_first_pool() -> None:
    found = filled_in(TWO)
    (rule,) = found.properties("InputBucket")["NotificationConfiguration"]["QueueConfigurations"]
    assert rule["Filter"] == {"S3Key": {"Rules": [{"Name": "prefix", "Value": "images/"}]}}
    assert rule["Queue"].endswith(":tagfleet-jobs-resnet50")
    allow, deny = found.properties("DropsPolicy")["PolicyDocument"]["Statement"]
    assert allow["Condition"] == {
        "ArnEquals": {"aws:SourceArn": "arn:aws:s3:::tagfleet-in-123456789012-eu-central-1"},
        "StringEquals": {"aws:SourceAccount": "123456789012"},
    }
    assert (deny["Effect"], deny["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


@pytest.mark.parametrize("bucket", ["InputBucket", "OutputBucket"])
def test_buckets_are_private_encrypted_and_outlive_the_stack(bucket: str) -> None:
    found = filled_in()
    properties = found.properties(bucket)
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert properties["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert "BucketEncryption" in properties
    assert found.template["Resources"][bucket]["DeletionPolicy"] == "Retain"
    assert len(properties["BucketName"]) <= 63
    (statement,) = found.properties(f"{bucket}Policy")["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert len(statement["Resource"]) == 2


def test_machines_reach_what_they_need_and_nothing_else() -> None:
    """Every security group says where it goes: one without rules may go anywhere."""
    found = filled_in(Hosts="two")
    ways: dict[str, set[tuple[int, str]]] = {name: set() for name in _of_type(found, "AWS::EC2::SecurityGroup")}
    for name in ways:
        rules = found.properties(name)["SecurityGroupEgress"]
        assert rules
        ways[name] |= {_way(rule) for rule in rules if rule.get("CidrIp") != "127.0.0.1/32"}
    for name in _of_type(found, "AWS::EC2::SecurityGroupEgress"):
        rule = found.properties(name)
        ways[rule["GroupId"]].add(_way(rule))
    assert ways == {
        "WorkerGroup": {(443, "0.0.0.0/0")},
        "HostGroup": {(443, "0.0.0.0/0"), (5432, "CatalogGroup")},
        "EntranceGroup": {(8000, "HostGroup")},
        "CatalogGroup": set(),
    }


@pytest.mark.parametrize("scheme", ["internet-facing", "internal"])
def test_each_part_lies_in_its_own_subnets(scheme: str) -> None:
    own = {
        "HostSubnets": "subnet-h",
        "EntranceSubnets": "subnet-e1,subnet-e2",
        "DatabaseSubnets": "subnet-d1,subnet-d2",
    }
    found = filled_in(Hosts="two", EntranceScheme=scheme, **own)
    assert found.properties("HostFleet")["VPCZoneIdentifier"] == ["subnet-h"]
    assert found.properties("Entrance")["Subnets"] == ["subnet-e1", "subnet-e2"]
    assert found.properties("Entrance")["Scheme"] == scheme
    assert found.properties("CatalogSubnets")["SubnetIds"] == ["subnet-d1", "subnet-d2"]


@pytest.mark.parametrize("shape", [ONE, TWO], ids=["one pool", "two pools"])
def test_queues_buckets_and_topics_take_nothing_without_tls(shape: stack.TemplateOptions) -> None:
    """Whatever resource is added of these kinds: each has one policy, which denies whoever comes without TLS."""
    found = filled_in(shape, Hosts="two")
    guarded: dict[str, int] = dict.fromkeys(_of_type(found, *_ATTACHED), 0)
    for policy, (key, service) in {
        "AWS::SQS::QueuePolicy": ("Queues", "sqs:*"),
        "AWS::SNS::TopicPolicy": ("Topics", "sns:Publish"),
        "AWS::S3::BucketPolicy": ("Bucket", "s3:*"),
    }.items():
        for name in _of_type(found, policy):
            (target,) = _referred_to(found.template["Resources"][name]["Properties"][key])
            properties = found.properties(name)
            denied = [each for each in properties["PolicyDocument"]["Statement"] if each["Effect"] == "Deny"]
            assert [each["Principal"] for each in denied] == ["*"]
            assert [each["Action"] for each in denied] == [service]
            assert [each["Condition"] for each in denied] == [{"Bool": {"aws:SecureTransport": "false"}}]
            assert set(_ours(found, target, service)) == set(iam.listed(denied[0]["Resource"]))
            guarded[target] += 1
    assert guarded
    assert set(guarded.values()) == {1}, guarded


def test_alarms_reach_their_topic() -> None:
    found = filled_in()
    topic = "arn:aws:sns:eu-central-1:123456789012:tagfleet-alarms"
    policy = [found.properties("AlarmsPolicy")["PolicyDocument"]]
    (allow,) = [each for each in policy[0]["Statement"] if each["Effect"] == "Allow"]
    assert allow["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    tls = {"aws:SecureTransport": "true"}
    ours, others = tls | {"aws:SourceAccount": "123456789012"}, tls | {"aws:SourceAccount": "210987654321"}
    assert iam.allowed(policy, "sns:Publish", topic, ours)
    assert not iam.allowed(policy, "sns:Publish", topic, others)
    assert not iam.allowed(policy, "sns:Publish", topic, ours | {"aws:SecureTransport": "false"})


@pytest.mark.parametrize(("days", "prefixes"), [("0", []), ("30", ["uploads/", "images/", "thumbnails/"])])
def test_uploads_are_kept_unless_days_are_given(days: str, prefixes: list[str]) -> None:
    rules = filled_in(UploadDays=days).properties("InputBucket")["LifecycleConfiguration"]["Rules"]
    assert [rule["Prefix"] for rule in rules if "ExpirationInDays" in rule] == prefixes
    assert rules[0]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


def test_names_fit_for_the_longest_deployment_in_the_longest_region() -> None:
    found = Resolved(stack.render(ONE), PARAMETERS, "d" * 30, region="ap-northeast-1")
    for bucket in ("InputBucket", "OutputBucket"):
        assert len(found.properties(bucket)["BucketName"]) <= 63


def test_workers_answer_nobody_and_end_with_their_work() -> None:
    found = filled_in()
    group = found.properties("WorkerGroup")
    assert "SecurityGroupIngress" not in group
    assert [rule["ToPort"] for rule in group["SecurityGroupEgress"]] == [443]
    data = found.properties("WorkersResnet50")["LaunchTemplateData"]
    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True


def test_user_data_tells_a_machine_names_and_no_secrets() -> None:
    found = filled_in(TWO, Hosts="two")
    told = {}
    for logical in ("WorkersEfficientnetLite0", "HostTemplate"):
        text = found.properties(logical)["LaunchTemplateData"]["UserData"]
        assert text.startswith("#cloud-config\n")
        (file,) = yaml.safe_load(text)["write_files"]
        told[file["path"]] = dict(line.split("=", 1) for line in file["content"].split())
    common = {
        "TAGFLEET_CONFIG": "s3://tagfleet-out-123456789012-eu-central-1/fleet/settings.toml",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
    worker = {"POOL": "efficientnet-lite0", "LOG_GROUP": "/tagfleet/tagfleet/workers"}
    host = {
        "TAGFLEET_HOST": "0.0.0.0",
        "LOG_GROUP": "/tagfleet/tagfleet/hosts",
        "STACK": "tagfleet",
        "TARGETS": "Targets",
    }
    assert told["/etc/tagfleet/worker.env"] == common | worker
    assert told["/etc/tagfleet/host.env"] == common | host


def test_hosts_are_replaced_one_by_one_and_each_says_that_it_serves() -> None:
    found = filled_in(Hosts="two")
    policy = found.value(found.template["Resources"]["HostFleet"]["UpdatePolicy"])["AutoScalingRollingUpdate"]
    assert (policy["MaxBatchSize"], policy["MinInstancesInService"]) == (1, 1)
    assert (policy["WaitOnResourceSignals"], policy["MinSuccessfulInstancesPercent"]) == (True, 100)
    assert "ReplaceUnhealthy" in policy["SuspendProcesses"]
    deadline = next(each.default for each in signal_ready.params if each.name == "deadline_s")
    assert policy["PauseTime"] == "PT15M"
    assert deadline < 15 * 60  # what a host waits for itself: it says why, and the update is taken back at once
    one = filled_in(Hosts="one")
    alone = one.value(one.template["Resources"]["HostFleet"]["UpdatePolicy"])["AutoScalingRollingUpdate"]
    assert (alone["MinInstancesInService"], alone["WaitOnResourceSignals"]) == (0, True)
    assert "TARGETS=\n" in one.properties("HostTemplate")["LaunchTemplateData"]["UserData"]


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [("none", set()), ("one", {"HostFleet", "Catalog"}), ("two", {"HostFleet", "Catalog", "Entrance", "Tls"})],
)
def test_there_are_as_many_hosts_as_are_wished(hosts: str, expected: set[str]) -> None:
    found = filled_in(Hosts=hosts)
    assert {"HostFleet", "Catalog", "Entrance", "Tls"} & set(found.there()) == expected
    if hosts != "none":
        count = {"one": "1", "two": "2"}[hosts]
        fleet = found.properties("HostFleet")
        assert (fleet["MinSize"], fleet["MaxSize"], "TargetGroupARNs" in fleet) == (count, count, hosts == "two")
    if hosts == "one":
        assert "TAGFLEET_HOST=127.0.0.1\n" in found.properties("HostTemplate")["LaunchTemplateData"]["UserData"]


def test_alarms_and_plots_are_of_numbers_that_the_fleet_writes() -> None:
    template = stack.render(TWO)
    text = json.dumps(
        {
            name: template["Resources"][name]
            for name in template["Resources"]
            if "Alarm" in str(template["Resources"][name]["Type"])
        }
    )
    widgets = json.loads(Resolved(template, PARAMETERS, "tagfleet").properties("Dashboard")["DashboardBody"])["widgets"]
    drawn = {row[1] for widget in widgets for row in widget["properties"]["metrics"] if row[0] == NAMESPACE}
    assert drawn <= set(Metric)
    watched = {metric for metric in Metric if f'"{metric}"' in text}
    assert watched == {"BacklogVisible", "WorkersReady", "WorkersWanted", "BootFailures", "SpendPerHour"}


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True)
        .map(lambda name: name[:20].strip("-"))
        .filter(lambda name: name != "host" and not name.endswith("-dead")),
        min_size=1,
        max_size=4,
        unique_by=stack.logical_id,
    )
)
def test_whatever_the_pools_are_called_what_is_referred_to_is_there(pools: list[str]) -> None:
    template = stack.render(ONE.with_pools(tuple(pools)))
    known = {*template["Resources"], *template["Parameters"]}
    for name in _referred_to(template["Resources"]):
        assert name in known or name.startswith("AWS::"), name


_ATTACHED = ("AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::S3::Bucket")


def _of_type(found: Resolved, *types: str) -> list[str]:
    return [name for name, resource in found.template["Resources"].items() if resource["Type"] in types]


def _way(rule: dict[str, Any]) -> tuple[int, str]:
    assert rule["FromPort"] == rule["ToPort"]
    return rule["ToPort"], rule.get("CidrIp") or rule["DestinationSecurityGroupId"]


def _ours(found: Resolved, name: str, service: str) -> list[str]:
    """The ARNs that a policy on this queue, topic or bucket has to name."""
    if service.startswith("sns"):
        return [found.value({"Ref": name})]
    arn = found.value({"Fn::GetAtt": [name, "Arn"]})
    return [arn, f"{arn}/*"] if service.startswith("s3") else [arn]


def _referred_to(node: object) -> set[str]:
    if isinstance(node, dict):
        own = {node["Ref"]} if set(node) == {"Ref"} else {node["Fn::GetAtt"][0]} if "Fn::GetAtt" in node else set()
        return own.union(*map(_referred_to, node.values()))
    return set().union(*map(_referred_to, node)) if isinstance(node, list) else set()
