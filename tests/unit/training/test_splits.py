from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DataInvalid, TrainingStopped
from tests.unit.training.full_disk import no_file_larger_than
from training.data.examples import Dataset, Example, TrainingSet
from training.data.splits import Splits, load, save, split


def dataset(*examples: tuple[str, set[int], str], labels: int = 4) -> Dataset:
    root = Path("/data")
    made = tuple(Example(root / name, frozenset(on), group) for name, on, group in examples)
    return Dataset("set", tuple(f"label {number}" for number in range(labels)), made, root)


@st.composite
def datasets(draw: st.DrawFn) -> Dataset:
    rows = draw(
        st.lists(st.tuples(st.sets(st.integers(0, 3)), st.integers(0, 30)), min_size=3, max_size=80).filter(
            lambda rows: len({group for _, group in rows}) >= 3
        )
    )
    return dataset(*((f"{number}.png", on, f"group {group}") for number, (on, group) in enumerate(rows)))


@settings(max_examples=50)
@given(datasets(), st.integers(0, 5))
def test_every_example_is_in_one_part_and_no_group_is_in_two(data, seed):
    parts = split(data, seed=seed).parts
    counts = Counter(example for part in parts.values() for example in part.examples)
    assert counts == Counter(data.examples)
    homes = {(example.group, name) for name, part in parts.items() for example in part.examples}
    assert len(homes) == len({group for group, _ in homes})
    assert all(part.examples for part in parts.values())


@settings(max_examples=50)
@given(datasets(), st.integers(0, 5), st.randoms())
def test_the_same_seed_gives_the_same_parts_in_whatever_order_the_examples_come(data, seed, random):
    order = list(data.examples)
    random.shuffle(order)
    other = Dataset(data.name, data.labels, tuple(order), data.root)
    assert other.fingerprint == data.fingerprint
    for one, same in zip(split(data, seed=seed).parts.values(), split(other, seed=seed).parts.values(), strict=True):
        assert set(one.examples) == set(same.examples)


def test_rare_labels_are_spread():
    common = [(f"{number}.png", {0}, f"{number}") for number in range(160)]
    rare = [(f"rare {number}.png", {0, 1}, f"rare {number}") for number in range(10)]
    pairs = [(f"pair {number}.png", {2}, f"pair {number // 2}") for number in range(40)]
    for seed in range(5):
        parts = split(dataset(*common, *rare, *pairs), (60, 20, 20), seed)
        assert parts.train.counts()[:3] == (102, 6, 24)
        assert parts.validation.counts()[1:3] == parts.test.counts()[1:3] == (2, 8)


def test_other_seeds_give_other_parts():
    data = dataset(*((f"{number}.png", {number % 2}, f"{number}") for number in range(40)))
    assert len({split(data, seed=seed).test.examples for seed in range(5)}) == 5


def test_a_part_without_a_share_stays_empty():
    data = dataset(*((f"{number}.png", {number % 2}, f"{number}") for number in range(10)))
    parts = split(data, (0.5, 0.5, 0))
    assert [len(part.examples) for part in parts.parts.values()] == [5, 5, 0]


@pytest.mark.parametrize("shares", [(1, -1, 1), (0, 0, 0), (float("nan"), 1, 1), (float("inf"), 1, 1)])
def test_shares_that_are_none(shares):
    data = dataset(*((f"{number}.png", {0}, f"{number}") for number in range(10)))
    with pytest.raises(DataInvalid, match="three numbers"):
        split(data, shares)


def test_fewer_groups_than_parts():
    with pytest.raises(DataInvalid, match="3 images in 2 groups cannot be split in 3"):
        split(dataset(("a", {0}, "x"), ("b", {1}, "x"), ("c", {1}, "y")))


class TestFiles:
    def splits(self) -> tuple[Dataset, Splits]:
        data = dataset(*((f"{number}.png", {number % 2}, f"{number}") for number in range(10)))
        return data, split(data)

    def test_what_was_saved_is_loaded_wherever_the_images_lie(self, tmp_path):
        data, parts = self.splits()
        save(parts, tmp_path / "new" / "splits.json", data)
        assert load(tmp_path / "new" / "splits.json", data) == parts
        moved = Dataset(
            data.name,
            data.labels,
            tuple(Example(Path("/moved") / one.path.name, one.labels, one.group) for one in data.examples),
            Path("/moved"),
        )
        there = load(tmp_path / "new" / "splits.json", moved)
        assert [one.path.name for one in there.test.examples] == [one.path.name for one in parts.test.examples]
        assert isinstance(there.train, TrainingSet)

    def test_other_data(self, tmp_path):
        data, parts = self.splits()
        save(parts, tmp_path / "splits.json", data)
        for other in (
            Dataset(data.name, data.labels, data.examples[1:], data.root),
            Dataset(data.name, ("x", *data.labels[1:]), data.examples, data.root),
            dataset(*((f"{number}.png", {number % 3}, f"{number}") for number in range(10))),
        ):
            with pytest.raises(DataInvalid, match="splits other data"):
                load(tmp_path / "splits.json", other)

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            (lambda kept: kept["test"].append(kept["train"][0]), "is in it 2 times"),
            (lambda kept: kept["train"].pop(), "is in none of its parts"),
            (lambda kept: kept["train"].append("new.png"), "new.png is not in the dataset"),
            (lambda kept: kept.pop("test"), "is not a file of `tagfleet data split`: test: Field required"),
        ],
    )
    def test_a_file_that_was_changed(self, tmp_path, change, text):
        data, parts = self.splits()
        path = tmp_path / "splits.json"
        save(parts, path, data)
        kept = json.loads(path.read_text())
        change(kept)
        path.write_text(json.dumps(kept))
        with pytest.raises(DataInvalid, match=text):
            load(path, data)

    @pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
    def test_no_file_of_splits(self, tmp_path, text):
        (tmp_path / "splits.json").write_text(text, errors="surrogateescape")
        with pytest.raises(DataInvalid, match="not a file of `tagfleet data split`"):
            load(tmp_path / "splits.json", self.splits()[0])
        with pytest.raises(DataInvalid, match="No such file"):
            load(tmp_path / "gone.json", self.splits()[0])


def test_a_disk_that_fills_up_leaves_the_split_that_was_there(tmp_path):
    data = dataset(*((f"{number}.png", {0}, f"{number}") for number in range(30)))
    path = tmp_path / "splits.json"
    save(split(data, seed=1), path, data)
    before = path.read_bytes()
    with (
        no_file_larger_than(200),
        pytest.raises(TrainingStopped, match=r"splits\.json could not be written: .*; its previous version is kept"),
    ):
        save(split(data, seed=2), path, data)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
