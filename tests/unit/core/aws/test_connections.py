"""Connections to S3 through proxies and with certificates of one's own, as boto3 takes them from the environment."""

from __future__ import annotations

import http.server
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.aws.clients import Clients
from core.aws.store import S3Store
from core.errors import Misconfigured, Unavailable
from tests.cloud import clients_of

_EXTENSIONS = "subjectAltName=DNS:localhost,DNS:s3.example.test\nbasicConstraints=CA:FALSE\n"


class _S3(http.server.BaseHTTPRequestHandler):
    """Answers every GET with an object, and any CONNECT with a tunnel to the server's `target`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._note()
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("ETag", '"a"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self) -> None:
        self._note()
        if self.server.answer[0] != 200:
            self.send_error(self.server.answer[0])
            return
        with socket.create_connection(self.server.target) as target:
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            pair = (self.connection, target)
            while ready := select.select(pair, (), (), 60)[0]:
                for one in ready:
                    if not (data := one.recv(65536)):
                        return
                    pair[one is self.connection].sendall(data)

    def _note(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    target: tuple[str, int]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _S3)
        self.asked: list[str] = []
        self.answer = (200, b"object")

    def handle_error(self, *_: object) -> None:
        """Ignore it: clients that do not trust the certificate hang up."""


@contextmanager
def serving(server: _Server) -> Iterator[_Server]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a proxy, and certificates."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[_Server]:
    with serving(_Server()) as running:
        yield running


@pytest.fixture
def proxy(server: _Server) -> Iterator[_Server]:
    """A proxy that leads every host to `server`; none is used unless a test says so."""
    made = _Server()
    made.target = ("127.0.0.1", server.server_port)
    with serving(made) as running:
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificate of an authority, `ca.pem`, and what it signed: `cert.pem` with `key.pem`."""
    folder = tmp_path_factory.mktemp("authority")
    (folder / "extensions").write_text(_EXTENSIONS)
    of_ca = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
    key = ["-newkey", "rsa:2048", "-nodes"]
    by_ca = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions"]
    for command in (
        ["req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=tests", *of_ca],
        ["req", *key, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=localhost"],
        ["x509", "-req", "-in", "request.pem", "-out", "cert.pem", "-days", "2", *by_ca],
    ):
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def secured(server: _Server, authority: Path) -> _Server:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server


def read(endpoint: str) -> bytes:
    clients: Clients = clients_of(endpoint, attempts=1)
    return S3Store(clients, input_bucket="bucket", output_bucket="bucket").get("a").data


# --- certificates -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "folder", "profile"])
def test_an_authority_of_ones_own_is_trusted_where_boto3_would(
    secured: _Server, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    bundle = authority / "ca.pem"
    if how == "folder":
        (tmp_path / "certificates").mkdir()
        bundle = tmp_path / "certificates"
        (bundle / "one.pem").write_bytes((authority / "ca.pem").read_bytes())
    if how == "profile":
        (tmp_path / "config").write_text(f"[default]\nca_bundle = {bundle}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        clients = Clients("eu-central-1", endpoint=f"https://localhost:{secured.server_port}", attempts=1)
        store = S3Store(clients, input_bucket="bucket", output_bucket="bucket")
        assert store.get("a").data == b"object"
        return
    monkeypatch.setenv("AWS_CA_BUNDLE" if how == "folder" else how, str(bundle))
    assert read(f"https://localhost:{secured.server_port}") == b"object"


def test_an_unknown_authority_is_told(secured: _Server) -> None:
    with pytest.raises(Misconfigured, match=r"no trusted connection \(.*UnknownIssuer.*look at AWS_CA_BUNDLE"):
        read(f"https://localhost:{secured.server_port}")


def test_another_name_is_told(secured: _Server, authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority / "ca.pem"))
    with pytest.raises(Misconfigured, match="no trusted connection"):
        read(f"https://127.0.0.1:{secured.server_port}")


def test_a_bundle_that_is_missing_is_told(secured: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(Misconfigured, match=r"none\.pem cannot be read.*look at AWS_CA_BUNDLE"):
        read(f"https://localhost:{secured.server_port}")
    (tmp_path / "none.pem").write_text("-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n")
    with pytest.raises(Misconfigured, match="AWS_CA_BUNDLE"):
        read(f"https://localhost:{secured.server_port}")


# --- proxies ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_is_used_where_boto3_would(
    server: _Server, proxy: _Server, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"{scheme}127.0.0.1:{proxy.server_port}")
    assert read("http://s3.example.test") == b"object"
    assert proxy.asked == ["GET http://s3.example.test/bucket/a"]
    monkeypatch.setenv("NO_PROXY", "example.org,127.0.0.1")
    assert read(f"http://127.0.0.1:{server.server_port}") == b"object"
    assert len(proxy.asked) == 1
    assert server.asked == ["GET /bucket/a"]


def test_a_proxy_tunnels_secure_connections(
    secured: _Server, proxy: _Server, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_port}")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(authority / "ca.pem"))
    assert read("https://s3.example.test") == b"object"
    assert (proxy.asked, secured.asked) == (["CONNECT s3.example.test:443"], ["GET /bucket/a"])
    proxy.answer = (407, b"")
    with pytest.raises(Unavailable, match="the connection failed"):
        read("https://s3.example.test")


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [(502, Unavailable, r"AWS has a problem \(502\)"), (407, Misconfigured, "refuses it: 407")],
)
def test_what_a_proxy_says_in_html_is_told_by_its_status(
    proxy: _Server, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception], says: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.server_port}")
    proxy.answer = (status, b"<!DOCTYPE html><title>Oh & no</title>")
    with pytest.raises(kind, match=says):
        read("http://s3.example.test")


def test_a_proxy_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:9")
    with pytest.raises(Unavailable, match=r'proxy URL: "http://\*\*\*:\*\*\*@127\.0\.0\.1:9') as told:
        read("http://s3.example.test")
    assert "secret" not in str(told.value)
