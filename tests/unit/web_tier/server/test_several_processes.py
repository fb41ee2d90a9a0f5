"""Two web processes of one host: together they have the limits of one, and one goes on when the other dies."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from bench.crowd import addresses, crowd, idlers
from core.wiring import Backend
from tests.unit.web_tier.processes import wait_for
from tests.unit.web_tier.server.test_connections import Open, serving
from tests.unit.web_tier.server.test_serve_keys import tagfleet


def pids(server: Open) -> set[int]:
    """The processes that answer."""
    arbiter = server.served.process.pid
    return set(map(int, Path(f"/proc/{arbiter}/task/{arbiter}/children").read_text().split()))


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def answering(server: Open, client: httpx.Client) -> int:
    """The process that has the connection of this client, which has only one."""
    here = client.get("/healthz").extensions["network_stream"].get_extra_info("client_addr")[1]
    there = int(server.url.rpartition(":")[2])
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if [int(fields[which].rpartition(":")[2], 16) for which in (1, 2)] == [there, here]:
            wanted = f"socket:[{fields[9]}]"
            for pid in pids(server):
                if any(_target(fd) == wanted for fd in Path(f"/proc/{pid}/fd").iterdir()):
                    return pid
    raise AssertionError("nobody has this connection")


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


def connect(server: Open) -> httpx.Client:
    return httpx.Client(
        base_url=server.url, headers={"Authorization": f"Bearer {server.key}"}, timeout=60, trust_env=False
    )


@contextmanager
def both(server: Open) -> Iterator[dict[int, httpx.Client]]:
    """A client with a connection to each of the two processes, by process."""
    found: dict[int, httpx.Client] = {}
    with ExitStack() as stack:

        def connected() -> bool:
            client = stack.enter_context(connect(server))
            found.setdefault(answering(server, client), client)
            return len(found) == 2

        wait_for(lambda: len(pids(server)) == 2)
        wait_for(connected)
        yield found


@pytest.fixture
def two(settings) -> Iterator[Open]:
    with serving(settings, processes=2) as server:
        yield server
    assert "Traceback" not in "".join(server.served.said)


def test_a_key_has_one_rate_whichever_process_answers(settings):
    with serving(settings, processes=2, rate_per_s=0.001, rate_burst=10) as server:
        with both(server) as clients:
            one, other = clients.values()
            codes = [client.get("/api/v1/batches").status_code for client in (one, other) * 8]
        assert codes == [200] * 9 + [429] * 7, "its batch was the tenth"


def test_wrong_keys_of_an_address_are_counted_together(two):
    with both(two) as clients:
        wrong = {"Authorization": "Bearer tf_wrong"}
        codes = [
            client.get("/api/v1/batches", headers=wrong).status_code for client in clients.values() for _ in "ab" * 8
        ]
    assert codes[:20] == [401] * 20
    assert codes[20:].count(429) >= 11, "one more each five seconds"


def test_event_streams_have_one_limit(settings):
    with serving(settings, processes=2, streams=3) as server, both(server) as clients, ExitStack() as stack:
        path = f"/api/v1/batches/{server.batch}/events"
        one, other = clients.values()
        answers = [stack.enter_context(client.stream("GET", path)) for client in (one, other) * 3]
        codes = [answer.status_code for answer in answers]
        assert codes == [200] * 3 + [503] * 3
        answers[1].close()

        def again() -> bool:
            with one.stream("GET", path) as answer:
                return answer.status_code == 200

        wait_for(again)


def test_an_address_has_one_limit_of_waiting_connections(settings):
    with (
        serving(settings, processes=2, connections_per_address=30, head_s=600.0) as server,
        crowd(server.url, idlers(100), addresses(1)) as found,
    ):
        wait_for(lambda: found.open == 30)
        assert server.answers()
        assert found.open == 30


def test_all_connections_have_one_limit(settings):
    with (
        serving(settings, processes=2, connections=60, head_s=600.0) as server,
        crowd(server.url, idlers(150), addresses(30)) as found,
    ):
        wait_for(lambda: found.open <= 60)
        assert httpx.get(f"{server.url}/healthz", timeout=60, trust_env=False).status_code == 200


def test_a_revoked_key_ends_in_both_processes_at_once(settings, two):
    with both(two) as clients:
        assert [client.get("/api/v1/batches").status_code for client in clients.values()] == [200, 200]
        listed = tagfleet(settings, "keys", "list").communicate(timeout=120)[0]
        (key_id,) = re.findall(r"key_\w+", listed)
        revoking = tagfleet(settings, "keys", "revoke", key_id)
        revoking.communicate(timeout=120)
        assert revoking.returncode == 0
        assert [client.get("/api/v1/batches").status_code for client in clients.values()] == [401, 401]


def test_each_process_tells_what_came_through_the_other(two):
    with both(two) as clients, ExitStack() as stack:
        path = f"/api/v1/batches/{two.batch}/events"
        heard = []
        streams = [stack.enter_context(client.stream("GET", path)).iter_lines() for client in clients.values()]
        for number, uploader in enumerate(stack.enter_context(both(two)).values()):
            photo = {"files": (f"{number}.jpg", b"%d" % number)}
            assert uploader.post(f"/api/v1/batches/{two.batch}/images", files=photo).status_code == 201
        for lines in streams:
            heard.append([next(line for line in lines if line.startswith('data: {"image_id"')) for _ in "ab"])
        assert heard[0] == heard[1]


def test_uploads_through_both_processes_lose_nothing(settings, two):
    """SQLite takes one writer at a time, and the processes take turns by chance."""
    with both(two) as clients:

        def upload(number: int) -> int:
            with connect(two) as client:
                photo = {"files": (f"{number}.jpg", b"%d" % number)}
                return client.post(f"/api/v1/batches/{two.batch}/images", files=photo).status_code

        with ThreadPoolExecutor(16) as threads:
            assert set(threads.map(upload, range(300))) == {201}
        counts = [client.get(f"/api/v1/batches/{two.batch}").json()["request_counts"] for client in clients.values()]
    assert [count["total"] for count in counts] == [300, 300]
    assert len(list(Backend(settings).store.list("uploads/"))) == 300


def test_one_process_goes_on_when_the_other_is_killed(settings):
    """Only requests of the killed one can fail; its event streams make room, and another one takes its place."""
    with serving(settings, processes=2, streams=2) as server, ExitStack() as stack:
        clients = stack.enter_context(both(server))
        before = set(clients)
        victim, survivor = clients
        path = f"/api/v1/batches/{server.batch}/events"
        streams = [stack.enter_context(clients[victim].stream("GET", path)) for _ in range(2)]
        assert [stream.status_code for stream in streams] == [200, 200]
        stop, kept = threading.Event(), []

        def ask() -> None:
            while not stop.is_set():
                kept.append(clients[survivor].get("/api/v1/batches").status_code)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            os.kill(victim, signal.SIGKILL)
            for number in range(20):
                assert server.answers(), number
            wait_for(lambda: len(pids(server)) == 2 and victim not in pids(server))
        finally:
            stop.set()
            asking.join()
        assert set(kept) == {200}
        with clients[survivor].stream("GET", path) as again:
            assert again.status_code == 200
        with both(server) as after:
            assert len(set(after) - before) == 1
    assert "Traceback" not in "".join(server.served.said)


def test_a_process_that_hangs_is_replaced_and_new_connections_are_answered_meanwhile(settings):
    with serving(settings, processes=2, hung_s=3.0) as server:
        with both(server) as clients:
            stopped = next(iter(clients))
        os.kill(stopped, signal.SIGSTOP)
        for _ in range(20):
            assert server.answers()
        wait_for(lambda: len(pids(server)) == 2 and stopped not in pids(server))
        with both(server):
            pass
        assert "did not respond for too long" in "".join(server.served.said)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_end_with_their_parent(settings, number):
    """Ctrl-C reaches all processes of a terminal."""
    with serving(settings, processes=2) as server, ExitStack() as stack:
        clients = stack.enter_context(both(server))
        path = f"/api/v1/batches/{server.batch}/events"
        lines = [stack.enter_context(client.stream("GET", path)).iter_lines() for client in clients.values()]
        assert [next(one) for one in lines] == ["retry: 1000"] * 2
        for pid in {server.served.process.pid} | (set(clients) if number == signal.SIGINT else set()):
            os.kill(pid, number)
        assert server.served.process.wait(60) == 0
        wait_for(lambda: not any(lives(pid) for pid in clients))
        assert not (settings.home / "web.address").exists()
    said = "".join(server.served.said)
    assert "Traceback" not in said
