"""A run over a bucket resumes wherever it is killed, loses and doubles nothing, and uses little memory."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from config import settings as config
from core.domain.messages import Box, Job, Result, Tag, decode_job, encode
from core.errors import Unavailable
from core.storage import layout, packs
from core.wiring import Backend
from tagfleet.bulk.listing import ListedObject
from tagfleet.bulk.run import BucketRun, RunSetup, drive, next_portion
from tagfleet.bulk.state import RunDiffers, RunFile, RunState, RunTaken


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Fate:
    """Counts calls to ports; at those in `at` the process is killed, before the call or just after it."""

    at: dict[int, bool] = field(default_factory=dict)
    calls: int = 0
    dies: Callable[[], BaseException] = Killed


class Mortal:
    """A port at whose calls the process may die."""

    def __init__(self, port: Any, fate: Fate) -> None:
        self._port, self._fate = port, fate

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._port, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            self._fate.calls += 1
            after = self._fate.at.pop(self._fate.calls, None)
            if after is False:
                raise self._fate.dies()
            answer = attribute(*args, **kwargs)
            if after:
                raise self._fate.dies()
            return list(answer) if name == "list" else answer

        return call


class Numbers:
    """A listing of so many objects, every fourth of which is no image."""

    name = "numbers"

    def __init__(self, count: int) -> None:
        self.count = count

    def after(self, cursor: str) -> Iterator[ListedObject]:
        for number in range(int(cursor or 0), self.count):
            yield ListedObject(uri(number), str(number + 1))

    @property
    def images(self) -> list[str]:
        return [uri(number) for number in range(self.count) if number % 4]


def uri(number: int) -> str:
    return f"s3://photos/a b/{number:05}{'.jpg' if number % 4 else '.txt'}"


class Deployment:
    """Real local parts, and workers of a kind."""

    def __init__(self, home: Path) -> None:
        self.settings = config.load({}, flags={"home": str(home)})
        backend = Backend(self.settings)
        self.store, self.queue = backend.store, backend.jobs("resnet50")
        self.results = backend.results
        self.tagged: Counter[str] = Counter()
        self.longest = 0

    def work(self, limit: int = 10, *, pack: bool = True, dies: bool = False) -> None:
        """Work as a worker that packs results, or one of an earlier version; it may die before it acknowledges."""
        self.longest = max(self.longest, self.queue.depth().outstanding)
        deliveries = self.queue.receive(limit, 0)
        results = []
        for delivery in deliveries:
            job = decode_job(delivery.body)
            self.tagged[job.key] += 1
            results.append(result_of(job))
        self.keep(*results, pack=pack)
        if dies:
            self.queue.set_visibility(deliveries, 0)
            return
        self.queue.delete(deliveries)

    def keep(self, *results: Result, pack: bool = True) -> None:
        """Store results in packs, or each in its own object."""
        if pack:
            self.store.put_all(packs.make_packs((result, encode(result)) for result in results))
        else:
            self.store.put_all({layout.result_key(it.batch_id, it.image_id): encode(it).encode() for it in results})

    def rows(self, run_id: str) -> list[dict[str, Any]]:
        keys = [info.key for info in self.store.list(f"exports/{run_id}/")]
        return [row for key in keys for row in parquet.read_table(io.BytesIO(self.store.get(key).data)).to_pylist()]


SEEN = Tag(name="ball", confidence=None, instances=(Box(box=(0.0, 0.25, 0.5, 0.75)),))


def result_of(job: Job) -> Result:
    failed = job.key.endswith("7.jpg")
    tags = () if failed else (Tag(name="dog", confidence=0.5), SEEN)
    error = "7: no image" if failed else None
    said = {"tagger": "t@1", "tags": tags, "caption": None if failed else "a dog", "error": error, "worker": "w"}
    return Result(batch_id=job.batch_id, image_id=job.image_id, name=job.name, **said)


def run_of(
    deployment: Deployment, listing: Numbers, fate: Fate | None = None, *, lead: int = 9
) -> tuple[BucketRun, RunFile]:
    store, queue = deployment.store, deployment.queue
    if fate is not None:
        store, queue = Mortal(store, fate), Mortal(queue, fate)
    file = RunFile(store, "run_x", RunState(listing=listing.name, pool="resnet50"), lambda: 1.0)
    run = BucketRun(file, listing, RunSetup(store, queue, lambda: 1.0, lead=lead, portion=7, chunk=4))
    return run, file


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def finish(deployment: Deployment, run: BucketRun) -> None:
    drive(run, lambda run: deployment.work(), lambda line: None, lambda seconds: deployment.work())


def test_every_image_is_tagged_once_and_becomes_a_row(deployment: Deployment) -> None:
    listing = Numbers(50)
    run, file = run_of(deployment, listing)
    finish(deployment, run)
    rows = deployment.rows("run_x")
    assert [row["uri"] for row in rows] == listing.images
    boxed = {"name": "ball", "confidence": None, "boxes": [[0.0, 0.25, 0.5, 0.75]]}
    assert (rows[0]["tags"], rows[0]["caption"]) == ([{"name": "dog", "confidence": 0.5, "boxes": []}, boxed], "a dog")
    assert [row["error"] for row in rows if row["uri"].endswith("7.jpg")] == ["7: no image"] * 5
    assert set(deployment.tagged.values()) == {1}
    assert (file.state.sent, file.state.done, file.state.failed, file.state.passed_over) == (37, 37, 5, 13)
    assert deployment.results.depth().outstanding == 0


def test_the_queue_never_holds_more_than_the_lead(deployment: Deployment) -> None:
    run, _ = run_of(deployment, Numbers(60), lead=5)
    drive(run, lambda run: None, lambda line: None, lambda seconds: deployment.work(3))
    assert deployment.longest <= 5


@settings(deadline=None, max_examples=15)
@given(
    count=st.integers(0, 30),
    kills=st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=4),
    worked=st.sampled_from(["not at all", "by a worker", "by an earlier version", "by a worker that died"]),
)
def test_a_run_that_is_killed_anywhere_goes_on(count: int, kills: list[tuple[int, bool]], worked: str) -> None:
    listing = Numbers(count)
    with TemporaryDirectory() as folder:
        deployment = Deployment(Path(folder))
        for at, after in kills:
            fate = Fate({at: after})
            try:
                run, file = run_of(deployment, listing, fate)
                finish(deployment, run)
            except Killed:
                if worked != "not at all":
                    deployment.work(pack="earlier" not in worked, dies="died" in worked)
                continue
        run, file = run_of(deployment, listing)
        finish(deployment, run)
        while deployment.queue.depth().outstanding:
            deployment.work()
        assert [row["uri"] for row in deployment.rows("run_x")] == listing.images
        assert set(deployment.tagged) == set(listing.images)
        again = 10 if "died" in worked else 0
        assert sum(deployment.tagged.values()) <= len(listing.images) + (4 + again) * len(kills)
        assert (file.state.sent, file.state.done) == (len(listing.images),) * 2


def test_what_does_not_answer_is_tried_again(deployment: Deployment) -> None:
    run, _ = run_of(deployment, Numbers(20))
    step, troubles, said = run.step, [Unavailable("the disk is full")] * 3, []

    def failing() -> bool:
        if troubles:
            raise troubles.pop()
        return step()

    run.step = failing  # type: ignore[method-assign]
    drive(run, lambda run: None, said.append, lambda seconds: deployment.work())
    assert said == ["the disk is full; trying again"]
    assert len(deployment.rows("run_x")) == 15


class Refusing:
    """A queue of ten messages a request, or a store, that does not answer the next `left` of some requests."""

    per_request = 10

    def __init__(self, port: Any, method: str, refused: Callable[..., bool]) -> None:
        self._port, self._method, self._refused = port, method, refused
        self.left = 0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._port, name)

        def refusing(*args: Any, **kwargs: Any) -> Any:
            if self.left and name == self._method and self._refused(*args):
                self.left -= 1
                raise Unavailable("no answer")
            return call(*args, **kwargs)

        return refusing


@pytest.mark.parametrize("what", ["a request to the queue", "the record of the progress"])
def test_jobs_that_the_queue_has_are_not_sent_again_after_a_failure(deployment: Deployment, what: str) -> None:
    queue = Refusing(deployment.queue, "send", lambda bodies: any("/00030.jpg" in body for body in bodies))
    store = Refusing(deployment.store, "put", lambda key, data: key.endswith("run.json"))
    file = RunFile(store, "run_x", RunState(listing="numbers", pool="resnet50"), lambda: 1.0)  # type: ignore[arg-type]
    setup = RunSetup(store, queue, lambda: 1.0, lead=1000, portion=120, chunk=120)  # type: ignore[arg-type]
    run = BucketRun(file, Numbers(160), setup)
    assert run.step()
    (queue if "queue" in what else store).left = 2
    for _ in range(2):
        with pytest.raises(Unavailable):
            run.step()
    assert run.step()
    assert file.state.sent == 120
    assert deployment.queue.depth().visible == 120


def test_a_lost_answer_is_no_other_process(deployment: Deployment) -> None:
    fate = Fate(dies=lambda: Unavailable("the connection broke after the store had done its part"))
    file = RunFile(Mortal(deployment.store, fate), "run_x", RunState(listing="l", pool="p"), lambda: 1.0)
    fate.at[fate.calls + 1] = True
    with pytest.raises(Unavailable):
        file.change(sent=1)
    file.change(sent=1)
    assert file.state.sent == 1


def test_the_process_that_comes_later_takes_the_run(deployment: Deployment) -> None:
    earlier, _ = run_of(deployment, Numbers(20))
    earlier.step()
    later, _ = run_of(deployment, Numbers(20))
    with pytest.raises(RunTaken, match="another `tagfleet tag`"):
        finish(deployment, earlier)
    finish(deployment, later)
    assert len(deployment.rows("run_x")) == 15


def test_a_run_is_not_continued_as_another_one(deployment: Deployment) -> None:
    run_of(deployment, Numbers(1))
    with pytest.raises(RunDiffers, match=r"begun with another pool \(resnet50\).*--run NAME"):
        RunFile(deployment.store, "run_x", RunState(listing="numbers", pool="other"), lambda: 1.0)


def test_messages_that_are_gone_are_sent_again(deployment: Deployment) -> None:
    run, _ = run_of(deployment, Numbers(10))
    while run.step():
        pass
    lost = deployment.queue.receive(10, 0)
    deployment.queue.delete(lost)
    run.resend_after_s = -1.0
    run.refresh()
    assert deployment.queue.depth().visible == 7
    finish(deployment, run)
    assert len(deployment.rows("run_x")) == 7


def image(position: int, **fields: Any) -> Result:
    known = {"name": "n", "tagger": "t@1", "worker": "w"} | fields
    return Result(batch_id="run_x", image_id=packs.image_id(1, position), **known)


def sent(deployment: Deployment, images: int) -> tuple[BucketRun, RunFile]:
    """Return a run all of whose images are sent; no worker ever answers."""
    listing = Numbers(images + images // 3 + 1)
    run, file = run_of(deployment, listing)
    while run.step():
        pass
    assert file.state.sent == images
    return run, file


def end(run: BucketRun) -> None:
    run.refresh()
    while run.step():
        pass


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_results_the_better_one_counts_whichever_came_first(deployment: Deployment, order: int) -> None:
    """A message was delivered to two workers, one of which could not read the image; or it became a dead letter too."""
    run, file = sent(deployment, 6)
    good = [image(at, tags=(Tag(name="dog", confidence=0.5),), finished_at=2.0) for at in range(3)]
    bad = [image(at, error="n: gone", finished_at=1.0) for at in range(5)]
    for results in (good, bad)[::order]:
        deployment.keep(*results)
    deployment.keep(*(image(at, error="n: gave up", worker="", finished_at=3.0) for at in (1, 4, 5)), pack=False)
    end(run)
    said = [row["error"] or row["tags"][0]["name"] for row in deployment.rows("run_x")]
    assert said == ["dog", "dog", "dog", "n: gone", "n: gone", "n: gave up"]
    assert run.finished
    assert (file.state.done, file.state.failed) == (6, 3)


def test_a_run_of_an_earlier_version_goes_on_with_packs(deployment: Deployment) -> None:
    run, file = sent(deployment, 7)
    deployment.work(3, pack=False)
    run.refresh()
    assert run.done == 3
    deployment.work(4)
    end(run)
    assert [row["uri"] for row in deployment.rows("run_x")] == Numbers(10).images
    assert (run.finished, file.state.done) == (True, 7)


def test_a_damaged_pack_gives_its_images_an_error(deployment: Deployment) -> None:
    run, file = sent(deployment, 3)
    deployment.work()
    (found,) = packs.list_results(deployment.store, "run_x", 1)
    lines = deployment.store.get(found.key).data.splitlines(keepends=True)
    deployment.store.put(found.key, lines[0] + b"damaged\n" + lines[2])
    end(run)
    errors = [row["error"] for row in deployment.rows("run_x")]
    assert errors == [None, f"{Numbers(4).images[1]}: its result is damaged", None]
    assert file.state.failed == 1


def test_results_that_a_pack_should_not_hold_do_not_count(deployment: Deployment) -> None:
    """Its key names the run, the portion and the positions; what else its lines say is damage."""
    run, _ = sent(deployment, 5)
    deployment.work()
    (found,) = packs.list_results(deployment.store, "run_x", 1)
    first, *lines = deployment.store.get(found.key).data.splitlines(keepends=True)
    strangers = [
        Result(batch_id="run_y", image_id=packs.image_id(1, 1), name="n", tagger="t", worker="w", attempt=9),
        Result(batch_id="run_x", image_id=packs.image_id(2, 2), name="n", tagger="t", worker="w", attempt=9),
    ]
    damaged = [encode(stranger).encode() + b"\n" for stranger in strangers]
    deployment.store.put(found.key, b"".join([first, *damaged, *lines[2:]]))
    odd = image(4, name="odd", attempt=9)
    (other,) = packs.make_packs([(image(3, attempt=9), encode(odd))])
    deployment.store.put(other, encode(odd).encode())
    end(run)
    rows = deployment.rows("run_x")
    assert [row["error"] and row["error"].rpartition(": ")[2] for row in rows] == [
        None,
        "its result is damaged",
        "its result is damaged",
        None,
        None,
    ]
    assert [row["caption"] for row in rows[3:]] == ["a dog", "a dog"]


def test_a_pack_that_disappears_is_waited_for_again(deployment: Deployment) -> None:
    run, _ = sent(deployment, 3)
    deployment.work()
    run.refresh()
    (found,) = packs.list_results(deployment.store, "run_x", 1)
    data = deployment.store.get(found.key).data
    deployment.store.delete([found.key])
    assert not run.step()
    assert not run.done
    deployment.store.put(found.key, data)
    end(run)
    assert run.finished


def test_a_run_asks_for_little(deployment: Deployment) -> None:
    """Besides its images and their results: a chunk has one record, and a look one count and one listing."""
    asked: Counter[str] = Counter()

    class Counting:
        def __init__(self, port: Any) -> None:
            self._port = port

        def __getattr__(self, name: str) -> Any:
            asked[name] += 1
            return getattr(self._port, name)

    file = RunFile(Counting(deployment.store), "run_x", RunState(listing="numbers", pool="resnet50"), lambda: 1.0)
    setup = RunSetup(Counting(deployment.store), Counting(deployment.queue), lambda: 1.0, lead=1000, portion=301)
    run = BucketRun(file, Numbers(400), setup)
    looks = 0

    def work(_: float) -> None:
        nonlocal looks
        looks += 1
        deployment.work(100)

    drive(run, lambda run: None, pytest.fail, work)
    assert len(deployment.rows("run_x")) == 300
    assert asked["send"] == 1
    assert asked["put"] == 6
    assert asked["depth"] <= looks + 2
    assert asked["list"] <= looks + 2
    assert asked["get"] <= 3 + 3, "each pack once"


class Uri(str):
    """Knows how many of its kind are alive."""

    __slots__ = ()
    alive = 0

    def __new__(cls, text: str) -> Uri:
        cls.alive += 1
        return super().__new__(cls, text)

    def __del__(self) -> None:
        Uri.alive -= 1


def test_a_million_objects_are_never_held_together() -> None:
    most = 0

    def million() -> Iterator[ListedObject]:
        nonlocal most
        for number in range(1_000_000):
            yield ListedObject(Uri("s3://b/k.jpg"), str(number + 1))
            most = max(most, Uri.alive)

    following, taken, last = million(), 0, False
    while not last:
        portion = next_portion(following, 10_000, "", everything=True)
        taken, last = taken + len(portion.uris), portion.last
    assert taken == 1_000_000
    assert most <= 2 * 10_000
