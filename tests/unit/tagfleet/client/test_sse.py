from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tagfleet.client._sse import Decoder, ServerEvent

line = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=20)
event = st.builds(
    ServerEvent,
    event=line.filter(bool),
    data=st.lists(line, min_size=1, max_size=3).map("\n".join),
    id=st.none() | line,
)


def written(event: ServerEvent, end: str) -> str:
    lines = [f"event: {event.event}", *(f"data: {part}" for part in event.data.split("\n"))]
    if event.id is not None:
        lines.insert(1, f"id: {event.id}")
    return end.join(lines) + end + end


@given(st.lists(event, max_size=4), st.sampled_from(["\n", "\r\n"]), st.integers(1, 50), st.booleans())
def test_events_come_out_as_they_went_in_whatever_the_pieces(events, end, size, pings):
    ping = f": ping{end}{end}" if pings else ""
    stream = "".join(ping + written(event, end) for event in events).encode()
    decoder = Decoder()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [event for piece in pieces for event in decoder.feed(piece)] == events


def test_half_an_event_is_none():
    decoder = Decoder()
    assert decoder.feed(b"event: item\ndata: {}\n") == []
    assert decoder.feed(b"\n") == [ServerEvent("item", "{}")]
