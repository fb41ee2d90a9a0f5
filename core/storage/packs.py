"""Packs: objects that hold the results of many images of one run.

1. The images of a run have ids of the form PORTION-POSITION. A pack holds results of one portion, as lines of JSON.
2. A pack's key says which positions it holds, so a LIST alone tells which images are done:
   `results/RUN/PORTION-pDIGEST.POSITIONS`. A failed result of a dead letter, and every result of a run that an earlier
   version began, is an object of its own, `results/RUN/PORTION-POSITION.json`, and is listed with the packs.
3. POSITIONS holds the gaps between the positions, as variable-length numbers of base 64 digits, five bits to a digit.
   Two hundred of 10,000 positions take 200 to 400 characters. Long ones continue in further segments of the key.
4. DIGEST is a hash of the content. Putting a pack again replaces the same object, and two workers that tagged the same
   images make two packs. Whoever reads them chooses one result for each image, by `rank`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from string import ascii_lowercase, ascii_uppercase, digits

from core.domain.messages import Result, decode_result
from core.errors import BadMessage
from core.storage import layout
from core.storage.ports import ObjectStore

MAX_RESULTS = 200
"""The most results in one pack."""
MAX_BYTES = 4 << 20
"""The most bytes in one pack, unless a single result is larger."""
CONTENT_TYPE = "application/x-ndjson"

_DIGITS = ascii_uppercase + ascii_lowercase + digits + "-_"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_BITS, _MORE = 5, 32
_LAST = 99_999
"""The highest position that an id has room for."""
_SEGMENT = 200
_ID = re.compile(r"(\d{5}|[1-9]\d{5,})-(\d{5})\Z", re.ASCII)
_NAME = re.compile(r"(\d{5})\.json\Z", re.ASCII)
_PACK = re.compile(r"p[0-9a-f]{12}\.([A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*)\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class StoredResults:
    """One object of a portion: a pack, or the result of one image. `positions` is what its key says, in order."""

    key: str
    positions: tuple[int, ...]
    is_pack: bool


def image_id(portion: int, position: int) -> str:
    """Return the id of the image at a position of a portion. Ids sort in the order of the listing."""
    return f"{portion:05}-{position:05}"


def place_of(id_: str) -> tuple[int, int] | None:
    """Return the portion and position of an image id; None if it is not one of a run."""
    found = _ID.match(id_)
    return (int(found[1]), int(found[2])) if found else None


def encode_positions(positions: Iterable[int]) -> str:
    """Return rising positions as text for a key."""
    text: list[str] = []
    next_ = 0
    for position in positions:
        gap, next_ = position - next_, position + 1
        while gap >= _MORE:
            text.append(_DIGITS[gap % _MORE + _MORE])
            gap >>= _BITS
        text.append(_DIGITS[gap])
    return "".join(text)


def decode_positions(text: str) -> list[int]:
    """Return the positions that `encode_positions` wrote. Raises ValueError for other text."""
    positions: list[int] = []
    next_ = gap = shift = 0
    for digit in text:
        value = _VALUES.get(digit)
        if value is None:
            break
        gap += value % _MORE << shift
        shift += _BITS
        if value < _MORE:
            positions.append(next_ + gap)
            next_, gap, shift = next_ + gap + 1, 0, 0
    else:
        if not shift:
            return positions
    raise ValueError(f"{text[:80]!r}: not the positions of a pack")


def make_packs(results: Iterable[tuple[Result, str]]) -> dict[str, bytes]:
    """Return packs of these results by their keys. Each result comes with its JSON; its id has a place in a run.

    A pack holds at most `MAX_RESULTS` and `MAX_BYTES`. Of several results of one image only the best is packed.
    """
    best: dict[tuple[str, int, int], tuple[Result, str]] = {}
    for result, line in results:
        place = place_of(result.image_id)
        if place is None:
            raise ValueError(f"image {result.image_id}: not an image of a run")
        key = (result.batch_id, *place)
        if key not in best or rank(result) > rank(best[key][0]):
            best[key] = result, line
    packs: dict[str, bytes] = {}
    for (run_id, portion), places in groupby(sorted(best), key=lambda place: place[:2]):
        lines = [(position, best[run_id, portion, position][1].encode()) for _, _, position in places]
        for start, end in _split([len(line) + 1 for _, line in lines]):
            data = b"".join(line + b"\n" for _, line in lines[start:end])
            packs[_key(run_id, portion, [position for position, _ in lines[start:end]], data)] = data
    return packs


def read_pack(data: bytes) -> Iterator[Result]:
    """Yield the results of a pack, without damaged ones."""
    for line in data.splitlines():
        try:
            yield decode_result(line)
        except BadMessage:
            continue


def list_results(store: ObjectStore, run_id: str, portion: int, *, after: int = 0) -> Iterator[StoredResults]:
    """Yield the objects with a portion's results: single ones from position `after` on, then all packs.

    Asks for a thousand at a time. Raises Unavailable.
    """
    prefix = layout.portion_results_prefix(run_id, portion)
    start = layout.result_key(run_id, image_id(portion, after - 1)) if after else ""
    for info in store.list(prefix, start):
        name = info.key.removeprefix(prefix)
        if single := _NAME.match(name):
            yield StoredResults(info.key, (int(single[1]),), is_pack=False)
        elif pack := _PACK.match(name):
            with suppress(ValueError):  # not one of ours
                yield StoredResults(info.key, tuple(decode_positions(pack[1].replace("/", ""))), is_pack=True)


class PackIndex:
    """Tells which images have a result in a pack. Lists each portion once, when it is first asked about."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._positions: dict[tuple[str, int], set[int]] = {}

    def holds(self, run_id: str, id_: str) -> bool:
        """Return whether a pack of the run has this image. Raises Unavailable."""
        place = place_of(id_)
        if place is None:
            return False
        portion, position = place
        if (run_id, portion) not in self._positions:
            found = list_results(self._store, run_id, portion, after=_LAST)
            self._positions[run_id, portion] = {at for there in found if there.is_pack for at in there.positions}
        return position in self._positions[run_id, portion]


def rank(result: Result) -> tuple[bool, int, bool, float]:
    """Return what orders several results of one image; the highest counts.

    Tags count more than an error, a later attempt more than an earlier one, a worker's result more than the report of a
    dead letter. Otherwise the earliest counts, so that a later double changes nothing.
    """
    return result.ok, result.attempt, bool(result.worker), -result.finished_at


def _split(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each pack, for the lines of these sizes."""
    start, held = 0, 0
    for at, size in enumerate(sizes):
        if at > start and (at - start == MAX_RESULTS or held + size > MAX_BYTES):
            yield start, at
            start, held = at, 0
        held += size
    if sizes:
        yield start, len(sizes)


def _key(run_id: str, portion: int, positions: Sequence[int], data: bytes) -> str:
    name = f"p{hashlib.sha256(data).hexdigest()[:12]}."
    prefix, text = layout.portion_results_prefix(run_id, portion), encode_positions(positions)
    room = _SEGMENT - len(prefix.rpartition("/")[2]) - len(name)
    segments = [text[:room], *(text[at : at + _SEGMENT] for at in range(room, len(text), _SEGMENT))]
    return prefix + name + "/".join(segments)
