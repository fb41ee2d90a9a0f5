"""One request to a receiver: to the checked address, under its name, within the deadline."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.web_tier.receiver import receiving
from web_tier.services.webhook_client import WebhookClient, new_secret, sign
from web_tier.services.webhook_target import BadTarget, resolve_target

SECRET = new_secret()


def webhook_client(resolve=lambda host, port: ["127.0.0.1"], *, timeout_s: float = 10, tls=None) -> WebhookClient:
    return WebhookClient(allow_private=True, timeout_s=timeout_s, clock=lambda: 1.7e9, resolve=resolve, tls=tls)


def test_the_signature_is_that_of_the_standard():
    """The example of the Standard Webhooks libraries' own tests."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signed = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_one_private_address_among_public_ones_is_enough_to_refuse():
    with pytest.raises(BadTarget, match="private network"):
        resolve_target("https://x.example/", allow_private=False, resolve=lambda *_: ["1.1.1.1", "10.0.0.1"])


def test_an_address_in_odd_notation_is_judged_by_what_it_means():
    for host in ("127.1", "2130706433", "0x7f000001", "0177.0.0.1"):
        with pytest.raises(BadTarget):
            resolve_target(f"https://{host}/", allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:pass@x.example/",
        "https://x.example/#f",
        "https://x.example\r\nX: y/",
        "https://x.example/ HTTP/1.1",
        "https:///path",
        "https://x.example:0/",
        "https://x.example:99999/",
        "https://[::1/",
        "file:///etc/passwd",
        "https://ex\u00e4mple.org/",
        "https://" + "x" * 2000,
    ],
)
def test_urls_that_are_none(url):
    with pytest.raises(BadTarget):
        resolve_target(url, allow_private=True, resolve=lambda *_: ["1.1.1.1"])


@given(st.text(max_size=60))
def test_whatever_is_given_is_a_target_or_refused_in_words(text):
    try:
        target = resolve_target(text, allow_private=False, resolve=lambda *_: ["1.1.1.1"])
    except BadTarget as error:
        assert str(error)
    else:
        assert target.tls
        assert "\n" not in target.path + target.host
        assert "\r" not in target.path + target.host


def test_a_name_that_changes_its_address_between_look_and_connection():
    """DNS rebinding: the name is looked up once for each request, and that address is the one connected to."""
    looked_up = []

    def resolve(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"] if len(looked_up) == 1 else ["192.0.2.1"]

    with receiving() as receiver:
        outcome = webhook_client(resolve).post(f"http://hooks.example:{receiver.port}/x", SECRET, "msg_1", b"{}")
        assert outcome.succeeded
        assert looked_up == ["hooks.example"]
        ((path, headers, body),) = receiver.came
        assert (path, headers["Host"], body) == ("/x", f"hooks.example:{receiver.port}", b"{}")


@contextmanager
def talking(*said: bytes, hold: bool = False) -> Iterator[int]:
    """A server that says this, byte by byte, to whoever comes, whatever it is asked; the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                for piece in said:
                    connection.sendall(piece)
                if hold:
                    done.wait(120)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            done.set()
            thread.join()


def test_a_status_that_comes_in_pieces():
    with talking(b"HTT", b"P/1.1 2", b"02 Accepted\r", b"\n") as port:
        assert webhook_client().post(f"http://x:{port}/", SECRET, "m", b"").status == 202


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1",
        b"SSH-2.0-OpenSSH\r\n",
        b"x" * 5000,
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/3 200 OK\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 50,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + b"HTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=range(11),
)
def test_what_is_no_answer(said):
    with talking(said) as port:
        outcome = webhook_client().post(f"http://x:{port}/", SECRET, "m", b"")
    assert outcome.status is None
    assert outcome.error
    assert outcome.error.isprintable()
    assert len(outcome.error) < 250


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize(
    "said",
    [
        INTERIM + b"HTTP/1.1 200 OK\r\n\r\n",
        INTERIM * 3 + b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 20 + b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nto the end",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nbroken",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nless",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 200 \r\n\r\n",
        b"HTTP/1.0 200 OK\n\nok",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (number, b"y" * 900) for number in range(100)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (2 << 20),
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        INTERIM + b"HTTP/1.1 200 OK\r\n",
    ],
    ids=range(16),
)
def test_the_final_answer_counts(said):
    with talking(said) as port:
        outcome = webhook_client().post(f"http://x:{port}/", SECRET, "m", b"")
    assert (outcome.status, outcome.error) == (200, None)


def test_interim_answers_without_end_meet_the_deadline():
    with talking(*[INTERIM] * 10, hold=True) as port:
        outcome = webhook_client(timeout_s=0.3).post(f"http://x:{port}/", SECRET, "m", b"")
    assert "did not answer within 0.3 s" in (outcome.error or "")


def test_an_answer_that_drips_meets_the_deadline():
    """Each byte comes in time for a time-out of one operation."""
    done = threading.Event()

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(INTERIM + b"HTTP/1.1 103 Early Hints\r\nX: ")
            while not done.wait(0.02):
                connection.sendall(b"y")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,))
        thread.start()
        try:
            outcome = webhook_client(timeout_s=0.5).post(f"http://x:{server.getsockname()[1]}/", SECRET, "m", b"")
        finally:
            done.set()
            thread.join()
    assert "did not answer within 0.5 s" in (outcome.error or "")


def test_a_receiver_that_answers_before_it_has_read_is_heard():
    """Its refusal says more than a broken pipe. The body is larger than what the system's buffers take."""
    with talking(b"HTTP/1.1 413 Content Too Large\r\n\r\n", hold=True) as port:
        outcome = webhook_client(timeout_s=60).post(f"http://x:{port}/", SECRET, "m", b"x" * 100_000)
    assert outcome.status == 413


def test_a_receiver_that_never_answers_is_left():
    with talking(b"HTTP/1.1 2", hold=True) as port:
        outcome = webhook_client(timeout_s=0.2).post(f"http://x:{port}/", SECRET, "m", b"")
    assert outcome.status is None
    assert "did not answer within 0.2 s" in (outcome.error or "")


def test_nobody_there():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen: nobody else can take the port and answer
        outcome = webhook_client().post(f"http://x:{taken.getsockname()[1]}/", SECRET, "m", b"")
    assert "Connection refused" in (outcome.error or "")


def test_a_name_without_address():
    def resolve(host: str, port: int) -> list[str]:
        raise socket.gaierror

    assert "no address" in (webhook_client(resolve).post("http://nowhere.example/", SECRET, "m", b"").error or "")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_tls_is_checked_against_the_name_not_the_address(tmp_path):
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=hooks.example"]
    made += ["-addext", "subjectAltName=DNS:hooks.example", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    with receiving(server_side) as receiver:
        sure = webhook_client(tls=trusting)
        assert sure.post(f"https://hooks.example:{receiver.port}/", SECRET, "m", b"").status == 204
        wrong = sure.post(f"https://other.example:{receiver.port}/", SECRET, "m", b"")
        strangers = webhook_client().post(f"https://hooks.example:{receiver.port}/", SECRET, "m", b"")
    assert "TLS failed" in (wrong.error or "")
    assert "TLS failed" in (strangers.error or "")
    assert len(receiver.came) == 1


def test_an_address_that_does_not_answer_is_passed_over():
    """As with a name that has an IPv6 address and a machine that has none."""
    with receiving() as receiver:
        two = webhook_client(lambda *_: ["127.99.0.1", "127.0.0.1"])
        assert two.post(f"http://x.example:{receiver.port}/", SECRET, "m", b"").status == 204
