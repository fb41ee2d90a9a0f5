"""The parser of uploads: parts come out as they went in, and broken bodies are refused."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.messages import MAX_NAME
from web_tier.http.multipart import BadMultipart, clean_name, parts


@given(st.text(st.characters(), max_size=2000))
def test_any_name_becomes_one_that_can_be_stored(name):
    clean = clean_name(name)
    assert len(clean) <= MAX_NAME
    clean.encode()
    assert not any(ord(c) < 32 for c in clean)
    assert clean_name(clean) == clean


@given(
    st.lists(st.binary(max_size=400).filter(lambda content: b"--BOUND" not in content), max_size=6),
    st.lists(st.integers(1, 60), min_size=1),
)
def test_parts_come_out_as_they_went_in_whatever_the_steps(contents, steps):
    body = b"".join(
        b'--BOUND\r\nContent-Disposition: form-data; name="files"; filename="%d"\r\n\r\n%s\r\n' % (number, content)
        for number, content in enumerate(contents)
    )
    stream = Trickle(body + b"--BOUND--\r\n", steps)
    assert [(part.filename, b"".join(part.chunks)) for part in parts(stream, "BOUND")] == [
        (str(number), content) for number, content in enumerate(contents)
    ]


class Trickle(io.BytesIO):
    """A connection that gives a few bytes at a time."""

    def __init__(self, data: bytes, steps: list[int]) -> None:
        super().__init__(data)
        self._steps = steps
        self._reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self._reads += 1
        return super().read(self._steps[self._reads % len(self._steps)])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no multipart at all",
        b"--BOUND\r\n",
        b'--BOUND\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nhalf an ima',
        b"--BOUND\r\nContent-Type: text/plain\r\n\r\nno disposition\r\n--BOUND--\r\n",
        b"--BOUND\r\nX: " + b"y" * 200_000 + b"\r\n\r\n\r\n--BOUND--\r\n",
        b"preamble" * 20_000,
    ],
)
def test_a_broken_body_is_refused(body):
    with pytest.raises(BadMultipart):
        list(parts(io.BytesIO(body), "BOUND"))


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (r'"back\slash.jpg"', r"back\slash.jpg"),  # browsers write a backslash as it is
        (r'"a\\b.jpg"', r"a\b.jpg"),  # others escape it
        (r'"say \"cheese\".jpg"', 'say "cheese".jpg'),
        ('"say %22cheese%22.jpg"', 'say "cheese".jpg'),
        ('"at the end\\"', "at the end\\"),
        ('"at the end\\\\"', "at the end\\"),
        (r'"a;b=\c.jpg"; x="y\z"', r"a;b=\c.jpg"),
        (r"bare.jpg", "bare.jpg"),
    ],
)
def test_a_name_arrives_as_it_was_sent(sent, name):
    head = f'Content-Disposition: form-data; name="files"; filename={sent}'
    body = io.BytesIO(f"--B\r\n{head}\r\n\r\none\r\n--B--\r\n".encode())
    assert [(part.field, part.filename) for part in parts(body, "B")] == [("files", name)]


@pytest.mark.parametrize("disposition", ["attachment; name=x", ""])
def test_a_part_that_is_not_of_a_form_is_refused(disposition):
    body = f"--B\r\nContent-Disposition: {disposition}\r\n\r\none\r\n--B--\r\n".encode()
    with pytest.raises(BadMultipart):
        list(parts(io.BytesIO(body), "B"))


def test_what_is_left_of_a_part_is_skipped():
    body = b"".join(
        b'--B\r\nContent-Disposition: form-data; name="files"; filename="%d"\r\n\r\n%s\r\n' % (number, b"x" * 700_000)
        for number in range(3)
    )
    found = [(part.filename, len(next(part.chunks))) for part in parts(io.BytesIO(body + b"--B--\r\n"), "B")]
    assert [name for name, _ in found] == ["0", "1", "2"]
    assert all(0 < size < 700_000 for _, size in found)
