"""The rounds in turn and the table of their rates."""

from __future__ import annotations

from itertools import cycle

import pytest

from bench.peers.rounds import OURS, measure, report, verdict
from bench.peers.servers import PEERS, RIVAL


def test_every_server_has_its_turn_and_ratios_are_of_one_round():
    order = []
    seconds = {OURS: cycle([1.0, 2.0]), "other": cycle([2.0, 8.0])}

    def run(title):
        return lambda: order.append(title) or next(seconds[title])

    rates = measure({title: run(title) for title in seconds}, 8, 2, [], lambda line: None)
    assert order == [OURS, "other", "other", OURS]
    assert list(report(rates, [], "here"))[4:] == [
        "| Tagfleet | 6.0 (4.0–8.0) |  |",
        "| other | 2.5 (1.0–4.0) | 3.00 (2.00–4.00) |",
    ]


def test_a_server_that_fails_is_out_and_said_so():
    def fail() -> float:
        raise RuntimeError("it answered 503")

    missing = ["third: not measured: no wheel"]
    rates = measure({OURS: lambda: 1.0, "other": fail}, 8, 3, missing, lambda line: None)
    lines = list(report(rates, missing, "here"))
    assert lines[-2:] == ["| third: not measured: no wheel | | |", "| other: failed in round 1: it answered 503 | | |"]
    assert len(rates[OURS]) == 3


def test_ours_must_not_fail():
    def fail() -> float:
        raise RuntimeError("a photo was lost")

    with pytest.raises(RuntimeError, match="a photo was lost"):
        measure({OURS: fail}, 8, 1, [], lambda line: None)


def test_each_peer_is_measured_with_both_engines():
    assert {(peer.name, peer.engine) for peer in PEERS} == {
        (name, engine) for name in ("litserve", "bentoml", "ray") for engine in ("torch", "openvino")
    }


def test_the_verdict_is_the_ratio_to_litserve_with_our_engine():
    assert RIVAL.title.startswith("LitServe ")
    assert RIVAL.engine == "openvino"
    rates = {OURS: [6.0, 5.0, 8.0], RIVAL.title: [5.0, 5.0, 4.0]}
    assert verdict(rates, RIVAL.title) == f"Tagfleet/{RIVAL.title} 1.20 (1.00–2.00), 3 rounds"


def test_the_verdict_says_that_the_rival_was_not_measured():
    assert verdict({OURS: [6.0]}, RIVAL.title) == f"Tagfleet/{RIVAL.title}: not measured"
