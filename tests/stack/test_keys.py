"""Buckets encrypted with KMS keys: which keys `aws up` finds, and who may use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ami.aws.buckets import key_of
from core.errors import Misconfigured, NotFound
from tagfleet.deployment.stack_options import StackOptions
from tests.cloud import REGION, Cloud, clients_of
from tests.faulty import Answer, Faulty
from tests.stack import iam
from tests.stack.commands import deployment_in, image_of
from tests.stack.resolving import Resolved
from tests.stack.test_stack_options import asked
from tests.stack.test_template import filled_in

KEY = f"arn:aws:kms:{REGION}:123456789012:key/1"
OTHER = f"arn:aws:kms:{REGION}:123456789012:key/2"
BY_S3 = {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}


def bucket_of(cloud: Cloud, **default: str) -> str:
    name = cloud.name("encrypted")
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    if default:
        rules = [{"ApplyServerSideEncryptionByDefault": default}]
        s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": rules})
    return name


@pytest.mark.parametrize("named", ["Arn", "KeyId", "alias"])
@pytest.mark.parametrize("algorithm", ["aws:kms", "aws:kms:dsse"])
def test_the_key_of_a_bucket_is_told_by_its_arn_however_the_bucket_names_it(
    cloud: Cloud, named: str, algorithm: str
) -> None:
    kms = cloud.client("kms")
    key = kms.create_key()["KeyMetadata"]
    alias = f"alias/{cloud.name('photos')}"
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    name = key.get(named, alias)
    assert key_of(cloud.clients, bucket_of(cloud, SSEAlgorithm=algorithm, KMSMasterKeyID=name)) == key["Arn"]


@pytest.mark.parametrize(
    "default",
    [
        {},
        {"SSEAlgorithm": "AES256"},
        {"SSEAlgorithm": "aws:kms"},
        {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": f"arn:aws:kms:{REGION}:1:alias/aws/s3"},
    ],
    ids=["nothing said", "S3's", "AWS's for S3", "AWS's for S3 by name"],
)
def test_keys_that_need_no_right_are_none(cloud: Cloud, default: dict[str, str]) -> None:
    assert key_of(cloud.clients, bucket_of(cloud, **default)) == ""


def test_a_bucket_that_cannot_be_looked_at_is_told(cloud: Cloud) -> None:
    with pytest.raises(NotFound, match="nowhere-at-all"):
        key_of(cloud.clients, "nowhere-at-all")
    with Faulty("http://127.0.0.1:1").running() as proxy:
        proxy.always(Answer(403, b"<Error><Code>AccessDenied</Code></Error>"))
        with pytest.raises(Misconfigured, match="cannot see how bucket photos is encrypted"):
            key_of(clients_of(proxy.endpoint, attempts=1), "photos")


def _may(found: Resolved, tier: str, action: str, key: str, context: dict[str, str]) -> bool:
    policies: list[dict[str, Any]] = []
    for name in found.there():
        resource = found.template["Resources"][name]
        if {"Ref": f"{tier}Role"} in resource.get("Properties", {}).get("Roles", ()):
            policies.append(found.properties(name).get("PolicyDocument", {"Statement": []}))
    return iam.allowed(policies, action, key, context)


@pytest.mark.parametrize("tier", ["Web", "Collector", "Controller", "Worker", "Host"])
def test_who_reads_images_of_others_may_use_their_keys_through_s3(tier: str) -> None:
    found = filled_in(Hosts="two", SourceKeys=f"{KEY},{OTHER}")
    reads = tier in ("Web", "Worker", "Host")
    for key in (KEY, OTHER):
        assert _may(found, tier, "kms:Decrypt", key, BY_S3) is reads
        assert not _may(found, tier, "kms:Decrypt", key, {})
        assert not _may(found, tier, "kms:GenerateDataKey", key, BY_S3)
    assert not _may(found, tier, "kms:Decrypt", f"{KEY}9", BY_S3)
    assert not _may(filled_in(Hosts="two"), tier, "kms:Decrypt", KEY, BY_S3)


@pytest.mark.parametrize("tier", ["Web", "Collector", "Controller", "Worker", "Host"])
def test_a_key_of_ones_own_encrypts_both_buckets_and_every_tier_may_use_it(tier: str) -> None:
    found = filled_in(Hosts="two", BucketKey=KEY)
    for bucket in ("InputBucket", "OutputBucket"):
        (rule,) = found.properties(bucket)["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
        assert rule == {"ServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}
    for action in ("kms:Decrypt", "kms:GenerateDataKey"):
        assert _may(found, tier, action, KEY, BY_S3)
        assert not _may(found, tier, action, OTHER, BY_S3)


def test_up_finds_the_keys_of_the_buckets_that_it_is_told_of(second_cloud: Cloud, tmp_path: Path) -> None:
    cloud = second_cloud
    key = cloud.client("kms").create_key()["KeyMetadata"]["Arn"]
    encrypted, plain = bucket_of(cloud, SSEAlgorithm="aws:kms", KMSMasterKeyID=key), bucket_of(cloud)
    name = cloud.name("keyed")
    run = deployment_in(cloud, name, tmp_path)
    given = ("--image", image_of(cloud), "--yes")
    done = run("aws", "up", *given, "--source", encrypted, "--source", plain, "--source-key", OTHER)
    assert done.exit_code == 0, (done.output, done.exception)

    def keys() -> str:
        (stack,) = cloud.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        return next(each["ParameterValue"] for each in stack["Parameters"] if each["ParameterKey"] == "SourceKeys")

    assert keys() == f"{OTHER},{key}"
    assert run("aws", "up", *given).exit_code == 0
    assert keys() == f"{OTHER},{key}"
    assert run("aws", "up", *given, "--source", plain).exit_code == 0
    assert keys() == ""
    lost = run("aws", "up", *given, "--source", "nobody-has-this-bucket")
    assert "warning: --source names bucket nobody-has-this-bucket, which does not exist" in lost.output


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (StackOptions(source_keys=("alias/photos",)), "--source-key alias/photos: give the ARN of a KMS key"),
        (StackOptions(kms_key=f"arn:aws:kms:{REGION}:123456789012:alias/photos"), "--kms-key arn:aws:kms:"),
    ],
)
def test_keys_that_policies_cannot_name_are_refused(options: StackOptions, line: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        asked(options)
    assert str(caught.value).startswith(line)
