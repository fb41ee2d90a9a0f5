"""A short run of `make chaos`: processes die, the disk fills, a clock is wrong, and nothing is lost."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.chaos.reckoning import RunRow, reckon, reckon_run
from core.domain.messages import Result
from core.domain.messages import Tag as ResultTag
from tagfleet.client import Item, Tag


@pytest.mark.e2e
def test_every_photo_ends_once(engine_cache: Path) -> None:
    command = [sys.executable, "-m", "bench", "--cache", str(engine_cache), "chaos"]
    few = [
        "--count",
        "100",
        "--every",
        "0.2",
        "1.5",
        "--breaking",
        "1.25",
        "--minutes",
        "8",
        "--traps",
        "6",
        "--bucket",
        "60",
        "--tagger",
        "efficientnet-lite0",
    ]
    run = subprocess.run([*command, *few], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    last = run.stdout.splitlines()[-1]
    uploads = last.partition(";")[0]
    counts = {
        name: int(count) for name, count in re.findall(r"(accepted|tagged|refused|dead|lost|doubled) (\d+)", uploads)
    }
    assert (counts["accepted"], counts["lost"], counts["doubled"]) == (106, 0, 0), last
    assert counts["tagged"] + counts["refused"] + counts["dead"] == 106, last
    assert counts["refused"] <= 6, last
    assert re.search(r"bucket of 60 photos, tagged \d+, dead \d+, lost 0, doubled 0", last), last
    assert re.search(r"[1-9]\d* kills", last), last
    assert "the disk full" in last, last


def result(id: str, error: str | None = None) -> Result:
    tags = () if error else (ResultTag(name="cat", confidence=0.9),)
    return Result(batch_id="b", image_id=id, name=f"{id}.jpg", tagger="t", tags=tags, error=error)


def item(id: str, status: str, tags: tuple[str, ...] = ()) -> Item:
    return Item(id, "b", f"{id}.jpg", "", 1, status, tags=[Tag(name, 0.9) for name in tags])


TAGGED, DEAD = item("tagged", "succeeded", ("cat",)), item("dead", "failed")


@pytest.mark.parametrize(
    ("bucket", "letters", "catalogue", "tagged_dead_lost_doubled_unlike"),
    [
        (["tagged"], ["dead"], [TAGGED, DEAD], (1, 1, 0, 0, 0)),
        (["tagged"], [], [TAGGED, DEAD], (1, 0, 1, 0, 0)),
        (["tagged", "dead"], ["dead"], [TAGGED, DEAD], (2, 0, 0, 1, 1)),
        (["tagged"], ["dead", "dead"], [TAGGED, DEAD], (1, 1, 0, 1, 0)),
        (["tagged", "stranger"], ["dead"], [TAGGED, DEAD], (1, 1, 0, 1, 0)),
        (["tagged"], ["dead"], [item("tagged", "succeeded", ("dog",)), DEAD], (1, 1, 0, 0, 1)),
        (["tagged"], ["dead"], [TAGGED], (1, 1, 0, 0, 1)),
    ],
    ids=["sound", "lost", "a result and a letter", "two letters", "a stranger", "other tags", "not in the catalogue"],
)
def test_the_reckoning_tells_loss_and_doubles(bucket, letters, catalogue, tagged_dead_lost_doubled_unlike) -> None:
    found = reckon(["tagged", "dead"], {id: result(id) for id in bucket}, letters, catalogue)
    counts = (found.tagged, found.dead, found.lost, found.doubled, found.unlike)
    assert counts == tagged_dead_lost_doubled_unlike
    assert found.sound == (counts == (1, 1, 0, 0, 0))


def test_a_photo_that_is_refused_is_no_sound_end_and_a_trap_is() -> None:
    bucket = {"tagged": result("tagged"), "trap": result("trap", "trap.jpg: too slow")}
    items = [TAGGED, item("trap", "failed")]
    refused = reckon(["tagged", "trap"], bucket, [], items, traps=["trap"])
    assert (refused.tagged, refused.refused, refused.traps, refused.sound) == (1, 1, 1, True)
    assert not reckon(["tagged", "trap"], bucket, [], items).sound


GOOD = [RunRow("s3://p/1", True, None), RunRow("s3://p/2", False, "2: gave up after 10 attempts: a worker …")]


@pytest.mark.parametrize(
    ("rows", "tagged_dead_refused_lost_doubled"),
    [
        (GOOD, (1, 1, 0, 0, 0)),
        (GOOD[:1], (1, 0, 0, 1, 0)),
        ([*GOOD, GOOD[0]], (1, 1, 0, 0, 1)),
        ([*GOOD, RunRow("s3://p/3", True, None)], (1, 1, 0, 0, 1)),
        ([GOOD[0], RunRow("s3://p/2", False, "2: no image")], (1, 0, 1, 0, 0)),
    ],
    ids=["sound", "lost", "two rows", "a stranger", "refused"],
)
def test_the_reckoning_of_a_bucket_tells_loss_and_doubles(rows, tagged_dead_refused_lost_doubled) -> None:
    found = reckon_run(["s3://p/1", "s3://p/2"], rows, misplaced=0, starts=1)
    counts = (found.tagged, found.dead, found.refused, found.lost, found.doubled)
    assert counts == tagged_dead_refused_lost_doubled
    assert found.sound == (rows == GOOD)
    assert not reckon_run(["s3://p/1", "s3://p/2"], GOOD, misplaced=1, starts=1).sound
