"""What is particular to the store in a folder."""

from __future__ import annotations

import os
import time

import pytest

from core.errors import NotFound, PreconditionFailed, Unavailable
from core.local.store import LocalStore
from core.storage.ports import IfAbsent, IfMatch


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "store")


def files(tmp_path, folder):
    return sorted(path for path in (tmp_path / "store" / folder).rglob("*") if path.is_file())


def test_the_same_bytes_put_again_are_another_version(store):
    first = store.put("a", b"same")
    second = store.put("a", b"same")
    assert first != second
    with pytest.raises(PreconditionFailed):
        store.put("a", b"other", condition=IfMatch(first))


def test_versions_differ_though_the_clock_stands_or_steps_back(tmp_path):
    times = iter([5 * 10**18] * 10 + [4 * 10**18] * 10)
    store = LocalStore(tmp_path / "store", clock_ns=times.__next__)
    assert len({store.put("a", b"same") for _ in range(20)}) == 20  # though inodes are used again


def test_etags_outlive_the_process(tmp_path, store):
    etag = store.put("a", b"1")
    LocalStore(tmp_path / "store").put("a", b"2", condition=IfMatch(etag))


def test_a_put_killed_in_the_middle_leaves_the_version_before_it(tmp_path, store, python, eventually):
    store.put("a", b"before")
    script = """
import sys
from core.local.store import LocalStore

class Stuck:
    def read(self, size):
        print("reading", flush=True)
        return b"x" * size if sys.stdin.readline() else b""

from pathlib import Path
LocalStore(Path(sys.argv[1])).put("a", Stuck())
"""
    process = python(script, tmp_path / "store")
    for _ in range(3):
        assert process.stdout.readline() == "reading\n", process.stderr.read()
        process.stdin.write("\n")
        process.stdin.flush()
    [partial] = files(tmp_path, "partial")
    eventually(lambda: partial.stat().st_size > 1_000_000)

    old = time.time() - 3_600
    os.utime(partial, (old, old))
    LocalStore(tmp_path / "store")
    assert partial.exists(), "its writer lives"

    process.kill()
    process.wait()
    os.utime(partial, (old, old))  # it may have written once more
    assert store.get("a").data == b"before"
    assert [info.key for info in store.list("")] == ["a"]
    store.put("a", b"after", condition=IfMatch(store.get("a").etag))
    LocalStore(tmp_path / "store")
    assert not partial.exists(), "nobody will finish it"


def test_what_was_just_left_half_written_is_not_swept_yet(tmp_path, store):
    partial = tmp_path / "store" / "partial" / "1-00"
    partial.write_bytes(b"")  # its writer may be about to lock it
    LocalStore(tmp_path / "store")
    assert partial.exists()


def test_a_failed_put_leaves_nothing_behind(tmp_path, store):
    store.put("a", b"1")
    with pytest.raises(PreconditionFailed):
        store.put("a", b"2", condition=IfAbsent())
    with pytest.raises(ValueError):
        store.put("../a", b"2")
    assert files(tmp_path, "partial") == []


def test_compare_and_set_holds_between_processes(tmp_path, store, python):
    script = """
import sys
from pathlib import Path
from core.errors import PreconditionFailed
from core.local.store import LocalStore
from core.storage.ports import IfMatch

store = LocalStore(Path(sys.argv[1]))
for _ in range(100):
    while True:
        read = store.get("n")
        try:
            store.put("n", b"%d" % (int(read.data) + 1), condition=IfMatch(read.etag))
        except PreconditionFailed:
            continue
        break
"""
    store.put("n", b"0")
    processes = [python(script, tmp_path / "store") for _ in range(3)]
    for process in processes:
        assert process.wait(120) == 0, process.stderr.read()
    assert store.get("n").data == b"300"


def test_a_full_disk_is_unavailable_and_spoils_nothing(tmp_path, store, python):
    store.put("a", b"before")
    script = """
import resource, sys
from pathlib import Path
from core.errors import Unavailable
from core.local.store import LocalStore

store = LocalStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    store.put("a", b"x" * 2_000_000)
except Unavailable as error:
    print(error)
store.put("b", b"small")
"""
    process = python(script, tmp_path / "store")
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert said == f"cannot write to the store in {tmp_path / 'store'}: File too large\n"
    assert (store.get("a").data, store.get("b").data) == (b"before", b"small")
    assert files(tmp_path, "partial") == []


def test_a_store_that_vanished_is_named(tmp_path, store):
    (tmp_path / "store").rename(tmp_path / "gone")
    with pytest.raises(Unavailable, match=rf"{tmp_path}/store: it is not there; was it removed or unmounted"):
        store.put("a", b"1")
    assert not (tmp_path / "store").exists(), "not made anew where the disk should be mounted"


def test_a_store_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=f"cannot make the store in {tmp_path}/file/store: Not a directory"):
        LocalStore(tmp_path / "file" / "store")


def test_content_type_is_guessed_from_the_key(store):
    for key in ("a.json", "b.jpg", "c"):
        store.put(key, b"", content_type="text/plain")
    assert [store.get(key).content_type for key in ("a.json", "b.jpg", "c")] == [
        "application/json",
        "image/jpeg",
        "application/octet-stream",
    ]


def test_the_list_reads_only_the_folders_it_needs(tmp_path, store):
    for batch in ("b", "c"):
        store.put(f"images/{batch}/1", b"")
    (tmp_path / "store" / "objects" / "images+" / "a+").write_text("a folder that cannot be read")
    assert [info.key for info in store.list("images/b/")] == ["images/b/1"]
    assert [info.key for info in store.list("images/", "images/b/0")] == ["images/b/1", "images/c/1"]
    with pytest.raises(Unavailable):
        next(store.list("images/"))


def test_there_is_no_form_to_upload_with(store):
    assert store.upload_form("a", content_type="image/jpeg", max_bytes=1, expires_s=1) is None


def test_nothing_under_a_prefix_that_no_key_has(store):
    store.put("a/b", b"")
    for prefix in ("../", "/", "a//", "a+/", "..", "\x00/"):
        assert list(store.list(prefix)) == []


def test_not_found_names_the_key(store):
    with pytest.raises(NotFound, match="no object 'images/b/i' in the store"):
        store.get("images/b/i")


def test_several_objects_are_replaced_together_and_leave_nothing_behind(tmp_path, store):
    store.put("a/0", b"before")
    etag = store.get("a/0").etag
    objects = {f"{folder}/{number}": f"{folder}{number}".encode() for folder in "ab" for number in range(50)}
    store.put_all(objects)
    assert {info.key: store.get(info.key).data for info in store.list("")} == objects
    assert store.get("a/0").etag != etag
    assert files(tmp_path, "partial") == []


def test_several_objects_are_flushed_before_any_has_its_name(tmp_path, store, monkeypatch):
    calls: list[str] = []

    def note(module, name):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given: (calls.append(name), real(*given))[1])

    note(os, "rename")
    note(os, "fsync")
    store.put_all({"a/1": b"1", "a/2": b"2"})
    assert calls[:2] == ["fsync", "fsync"], "the contents"
    names = len(calls) - calls[::-1].index("rename")
    assert calls[names:] == ["fsync"], "the folder, once"


def test_a_bad_key_among_several_stores_none(tmp_path, store):
    with pytest.raises(ValueError):
        store.put_all({"a": b"1", "../b": b"2"})
    assert list(store.list("")) == []
    assert files(tmp_path, "partial") == []


def test_several_puts_killed_in_the_middle_leave_whole_objects_and_all_that_were_answered(tmp_path, store, python):
    """Three writers replace the same objects group by group; all are killed while they write."""
    script = """
import itertools, sys
from pathlib import Path
from core.local.store import LocalStore

store = LocalStore(Path(sys.argv[1]))
for turn in itertools.count():
    own = {f"{sys.argv[2]}/{turn}/{number}": f"{turn:06}".encode() * 2_000 for number in range(10)}
    shared = {f"shared/{number}": f"{turn:06}".encode() * 2_000 for number in range(10)}
    store.put_all(own | shared)
    print(turn, flush=True)
"""
    writers = [python(script, tmp_path / "store", name) for name in ("x", "y", "z")]
    for writer in writers:
        for _ in range(5):
            assert writer.stdout.readline(), writer.stderr.read()
    answered = {}
    for name, writer in zip("xyz", writers, strict=True):
        writer.kill()
        answered[name] = [int(line) for line in writer.stdout.read().split()][-1:] or [4]
    after = LocalStore(tmp_path / "store")
    found = {info.key: after.get(info.key).data for info in after.list("")}
    for data in found.values():
        assert data == data[:6] * 2_000, "a reader sees a whole version"
    for name, (last,) in answered.items():
        assert {f"{name}/{turn}/{number}" for turn in range(last + 1) for number in range(10)} <= found.keys()
