"""`tagfleet tag` for buckets, without workers: its estimate, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tagfleet.cli.tag import command

Tag = Callable[..., Result]


@pytest.fixture
def tag(tmp_path: Path) -> Tag:
    environment = {"TAGFLEET_HOME": str(tmp_path / "home"), "TAGFLEET_CACHE": str(tmp_path / "cache")}
    return lambda *arguments: CliRunner(env=environment).invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def list_(tmp_path: Path) -> Path:
    path = tmp_path / "list"
    path.write_text("".join(f"s3://photos/{number}.jpg\n" for number in range(3600)) + "s3://photos/notes.txt\n")
    return path


def test_the_estimate_says_how_many_how_long_and_how_much(tag: Tag, list_: Path) -> None:
    result = tag("--list", list_, "--estimate", "--rate", "2", "--workers", "5", "--price", "0.6")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "images     3,600 (counted)",
        "time       6.0 min with 5 workers of 2.0 images/s",
        "requests   $0.00",
        "instances  $0.30 at $0.6/h each",
    ]
    assert "3,601 (counted)" in tag("--list", list_, "--estimate", "--all").stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "name what to tag"),
        (("--estimate",), "name what to tag"),
        (("s3://a/", "s3://b/"), "one thing at a time"),
        (("s3://",), "not an address of the form s3://BUCKET/KEY"),
        (("s3://a/p", "--list", "x"), "give only the bucket of its keys"),
        (("s3://a/p", "--output", "x"), "photos in a bucket stay in S3"),
        (("s3://a/p", "--format", "table", "--plain"), "--format, --plain: only for uploads"),
        (("s3://a/p", "--api-key", "k"), "--api-key: only for uploads"),
        (("s3://a/p", __file__), "paths: only for uploads"),
        ((__file__, "--lead", "5000", "--price", "0"), "--lead, --price: only for photos in a bucket"),
        ((__file__, "--rate", "2", "--workers", "5"), "--rate, --workers: only for photos in a bucket"),
        ((__file__, "--all", "--list", ""), "--list, --all: only for photos in a bucket"),
        (("s3://a/p", "--tagger", "none"), "there is no such pool; there are: resnet50"),
    ],
)
def test_what_makes_no_sense_is_refused(tag: Tag, arguments: tuple[str, ...], why: str) -> None:
    result = tag(*arguments)
    assert result.exit_code == 2
    assert why in " ".join(result.stderr.split())


def test_where_nothing_is_to_tag_it_says_so_and_looks_again_the_next_time(tag: Tag, tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("s3://photos/notes.txt\n")
    for _ in range(2):
        result = tag("--list", path)
        assert result.exit_code == 1
        assert "1 objects do not end like an image (--all includes them)" in result.stderr
    assert not list((tmp_path / "home/store/objects").rglob("*.json"))
