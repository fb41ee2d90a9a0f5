"""`tagfleet tag s3://…` on a local deployment with real workers and moto's S3, also after a kill."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from pyarrow import parquet

from tests.cloud import Cloud

KEYS = [f"my photos/{name}.jpg" for name in ("a b", "1+1", "50%25", "ümläut", "日本", "q&a=?#", "x/../y", "*'\"(é)")]
MORE = [f"my photos/more/{number:03}.JPG" for number in range(12)]


@pytest.fixture
def bucket(cloud: Cloud) -> str:
    """A bucket of photos under odd keys, one of them broken, and of other files."""
    s3, name = cloud.client("s3"), cloud.name("photos")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
    out = io.BytesIO()
    Image.effect_noise((320, 240), 80).convert("RGB").save(out, "JPEG")
    for key in [*KEYS, *MORE]:
        s3.put_object(Bucket=name, Key=key, Body=out.getvalue())
    s3.put_object(Bucket=name, Key="my photos/broken.png", Body=b"no picture")
    s3.put_object(Bucket=name, Key="my photos/notes.txt", Body=b"no picture")
    s3.put_object(Bucket=name, Key="elsewhere/c.jpg", Body=out.getvalue())
    return name


@pytest.mark.e2e
def test_a_bucket_is_tagged_where_it_lies(
    deploy: Callable[..., Any], cloud: Cloud, bucket: str, until: Callable[..., None]
) -> None:
    deployment = deploy(**cloud.environ)
    tag = ("tag", f"s3://{bucket}/my photos/", "--run", "one", "--lead", "6")

    begun = deployment.run(*tag)
    store = deployment.backend.store
    until(lambda: any(True for _ in store.list("results/run_one/")))
    begun.send_signal(signal.SIGKILL)
    begun.communicate(timeout=300)

    again = deployment.run(*tag)
    _, said = again.communicate(timeout=300)
    assert again.returncode == 1, said
    assert "run_one: 20 of 21 images tagged, 1 objects passed over" in said
    keys = [info.key for info in store.list("exports/run_one/")]
    rows = [row for key in keys for row in parquet.read_table(io.BytesIO(store.get(key).data)).to_pylist()]
    wanted = {f"s3://{bucket}/{key}" for key in [*KEYS, *MORE, "my photos/broken.png"]}
    assert len(rows) == len(wanted)
    assert {row["uri"] for row in rows} == wanted
    assert [row["uri"] for row in rows if row["error"]] == [f"s3://{bucket}/my photos/broken.png"]
    assert all(row["tagger"] for row in rows)
    assert deployment.backend.results.depth().outstanding == 0
