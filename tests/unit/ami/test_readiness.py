"""A host says that it serves once it does, and that it does not where it does not: over real sockets and processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from core.errors import Unavailable
from tagfleet.cli.signal_ready import command
from tagfleet.deployment.readiness import answers, gets_requests, units_run, wait_until_ready
from tests.cloud import CREDENTIALS, REGION
from tests.faulty import Answer, Faulty
from tests.metadata import FakeMetadata, serving


class _Clock:
    """Passes when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


def _saying(*words: str) -> Callable[[], str]:
    """What it says one time after the other; the last one stays."""
    left = list(words)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize(
    ("words", "wrong", "looks"),
    [
        (("",), "", 3),
        (("no", "no", ""), "", 5),
        (("", "", "no", ""), "", 6),  # a unit that ends at once is active for a moment
        (("no",), "no", 13),
    ],
)
def test_a_host_is_ready_when_nothing_was_wrong_several_times_in_a_row(
    words: tuple[str, ...], wrong: str, looks: int
) -> None:
    clock = _Clock()
    assert wait_until_ready([_saying(""), _saying(*words)], 60.0, pause=clock.pause, clock=clock) == wrong
    assert clock.now == (looks - 1) * 5.0


@pytest.mark.parametrize(
    ("printed", "wrong"),
    [
        ("active\nactive\nactive", ""),
        ("active\nactivating\nfailed", "tagfleet-collector is activating, tagfleet-controller is failed"),
        ("active", "tagfleet-collector is unknown, tagfleet-controller is unknown"),
        ("", ""),  # no D-Bus, so systemd tells users nothing
    ],
)
def test_units_are_asked_of_systemd(tmp_path: Path, printed: str, wrong: str) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\nprintf '{printed}'\n")
    systemctl.chmod(0o755)
    assert units_run((str(systemctl), "is-active")) == wrong


@contextmanager
def _web(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's name
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is written down."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_web_tier_is_asked_itself() -> None:
    with _web(200) as address:
        assert answers(f"{address}/healthz") == ""
    assert "does not answer" in answers(f"{address}/healthz")
    with _web(503) as address:
        assert "503" in answers(f"{address}/healthz")


def test_the_load_balancer_is_asked() -> None:
    def away() -> str:
        raise Unavailable("cannot ask the load balancer")

    assert gets_requests(lambda: "healthy") == ""
    assert gets_requests(lambda: "initial") == "the load balancer says initial"
    assert gets_requests(lambda: "") == "the load balancer says nothing about this host"
    assert gets_requests(away) == "cannot ask the load balancer"


def test_a_host_without_a_stack_tells_nobody() -> None:
    assert CliRunner().invoke(command, ["--stack=", "--targets="]).output.startswith("no stack is set")


@pytest.mark.parametrize(
    ("answer", "waited"),
    [
        (Answer(200, b"<SignalResourceResponse/>", {"Content-Type": "text/xml"}), True),
        (
            Answer(
                400,
                b"<ErrorResponse><Error><Code>ValidationError</Code><Message>Resource HostFleet is in CREATE_COMPLETE "
                b"state and cannot be signaled</Message></Error></ErrorResponse>",
            ),
            False,
        ),
    ],
    ids=["updating", "calm"],
)
def test_the_stack_is_told_if_it_waits_and_it_is_no_failure_if_not(answer: Answer, waited: bool) -> None:
    """One that replaces a host which failed is told by CloudFormation that it cannot signal."""
    with serving(FakeMetadata("i-0123456789abcdef0", 0.0)) as fake, Faulty("http://127.0.0.1:1").running() as proxy:
        bodies: list[bytes] = []
        proxy.on(lambda request: bodies.append(request.body) or answer)  # type: ignore[func-returns-value]  # None
        environ = {**CREDENTIALS, **fake.environ, "AWS_ENDPOINT_URL": proxy.endpoint, "AWS_REGION": REGION}
        done = CliRunner().invoke(
            command, ["--stack=photos", "--deadline-s=0"], env={**environ, "AWS_EC2_METADATA_DISABLED": "false"}
        )
    assert done.exit_code == (1 if waited else 0)
    assert done.output.endswith("; signalled\n" if waited else "; the stack awaits no signal\n")
    (body,) = bodies
    assert b"UniqueId=i-0123456789abcdef0" in body
    assert b"Status=FAILURE" in body
