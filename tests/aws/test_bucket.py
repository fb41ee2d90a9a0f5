"""Tag another owner's bucket in place, with workers on machines that come and go."""

from __future__ import annotations

import signal

import pyarrow.parquet as parquet
import pytest

from bench.deployment import wait_until

pytestmark = [pytest.mark.aws, pytest.mark.long, pytest.mark.timeout(300)]


def test_a_bucket_is_tagged_by_a_command_that_is_killed_and_goes_on(deploy, make_photos, cloud, tmp_path):
    s3, bucket = cloud.client("s3"), cloud.name("theirs")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    keys = [f"photos/sommer é/{number % 3}/{number} (1).jpg" for number in range(30)]
    for key, (_, content) in zip(keys, make_photos(len(keys)), strict=True):
        s3.put_object(Bucket=bucket, Key=key, Body=content)
    s3.put_object(Bucket=bucket, Key="photos/readme.txt", Body=b"no image")
    deployment = deploy(max_workers=1)
    stack, machines = deployment.stack, deployment.machines
    command = ("tag", f"s3://{bucket}/photos/", "--lead", "5", "--out", str(tmp_path / "tags"))

    first = deployment.begin(*command)
    wait_until(lambda: stack.results() or first.poll() is not None, 120)
    first.kill()
    first.communicate()
    assert first.returncode == -signal.SIGKILL, "it was still at work"
    second = deployment.begin(*command)
    _, said = second.communicate(timeout=150)
    assert second.returncode == 0, said

    parts = sorted((tmp_path / "tags").glob("*.parquet"))
    rows = [row for part in parts for row in parquet.read_table(part).to_pylist()]
    assert sorted(row["uri"] for row in rows) == sorted(f"s3://{bucket}/{key}" for key in keys)
    assert all(row["tags"] and row["error"] is None for row in rows)
    wait_until(lambda: not machines.billed())
    assert stack.outstanding("jobs-resnet50") == stack.outstanding("jobs-resnet50-dead") == 0
