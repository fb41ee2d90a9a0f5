"""The body as the application reads it: every byte once and in order, however it arrives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web_tier.server.body import Body, BodyNeeded, ClientGone

CHUNKS = st.lists(st.binary(min_size=1, max_size=20), max_size=12)


def body_of(ahead: list[bytes], later: list[bytes]) -> Body:
    """A body of which `ahead` has come and `later` comes when it is asked for."""
    coming = iter(later)
    body = Body(lambda: next(coming, b""))
    for chunk in ahead:
        body.feed(chunk)
    return body


@given(CHUNKS, CHUNKS, st.lists(st.one_of(st.none(), st.integers(-1, 30)), max_size=10))
def test_reads_and_lines_of_any_size_give_all_of_it(ahead, later, sizes):
    body, whole = body_of(ahead, later), b"".join(ahead + later)
    got = b""
    for number, size in enumerate(sizes):
        line = number % 2
        data = body.readline(size) if line else body.read(size)
        assert size is None or size < 0 or len(data) <= size
        assert not line or b"\n" not in data[:-1]
        got += data
    assert got + body.read() == whole
    assert body.read(1) == b""


@given(CHUNKS, CHUNKS, st.integers(1, 30))
def test_reads_of_what_has_come_give_all_of_it_without_joining(ahead, later, size):
    body = body_of(ahead, later)
    got = list(iter(lambda: body.read1(size), b""))
    assert b"".join(got) == b"".join(ahead + later)
    assert len(got) == sum(-(-len(chunk) // size) for chunk in ahead + later)


@given(CHUNKS, CHUNKS)
def test_its_lines_are_those_of_the_whole(ahead, later):
    whole = b"".join(ahead + later)
    assert list(body_of(ahead, later)) == [line + b"\n" for line in whole.split(b"\n")[:-1]] + [
        whole.split(b"\n")[-1]
    ] * bool(whole.split(b"\n")[-1])


@pytest.mark.parametrize("read", [lambda body: body.read(), lambda body: body.read1(3), lambda body: body.readline()])
def test_a_first_look_takes_nothing(read):
    """Even where there are enough bytes for this read: they are the application's when it runs in earnest."""
    body = body_of([b"12345"], [b"678"])
    body.peeking = True
    with pytest.raises(BodyNeeded):
        read(body)
    body.peeking = False
    assert body.read() == b"12345678"


def test_a_client_that_leaves_is_no_end():
    def more() -> bytes:
        raise ClientGone

    body = Body(more)
    body.feed(b"123")
    assert body.read(3) == b"123"
    with pytest.raises(ClientGone):
        body.read(1)
