"""Serve an EC2 instance's metadata over real HTTP on loopback, with IMDSv2's tokens."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

_TTL = "X-aws-ec2-metadata-token-ttl-seconds"
_TOKEN = "X-aws-ec2-metadata-token"


class FakeMetadata:
    """The documents of one instance, by path below `/latest/`, and the requests so far."""

    def __init__(self, instance_id: str, launched_at: float, tags: Mapping[str, str] | None = None) -> None:
        identity = {
            "instanceId": instance_id,
            "pendingTime": f"{datetime.fromtimestamp(launched_at, UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        self.documents = {"dynamic/instance-identity/document": json.dumps(identity)}
        for name, value in (tags or {}).items():  # as if it was launched with InstanceMetadataTags
            self.documents[f"meta-data/tags/instance/{name}"] = value
        self.endpoint = ""
        self.requests: list[str] = []
        self._tokens: set[str] = set()

    @property
    def environ(self) -> dict[str, str]:
        """The variables that lead an AWS client to this service."""
        return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.endpoint, "AWS_EC2_METADATA_DISABLED": "false"}

    def interrupt(self, time: str = "2026-01-02T12:03:10Z", action: str = "terminate") -> None:
        """Give notice of a spot interruption."""
        self.documents["meta-data/spot/instance-action"] = json.dumps({"action": action, "time": time})

    def recommend(self, time: str = "2026-01-02T12:01:00Z") -> None:
        """Give a rebalance recommendation."""
        self.documents["meta-data/events/recommendations/rebalance"] = json.dumps({"noticeTime": time})

    def forget_tokens(self) -> None:
        """Expire all tokens."""
        self._tokens.clear()

    def answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        """Return status and body. Header names are in lower case."""
        self.requests.append(f"{method} {path}")
        if method == "PUT" and path == "/latest/api/token":
            if not 1 <= int(headers.get(_TTL.lower(), 0)) <= 21_600:
                return 400, ""
            self._tokens.add(token := secrets.token_hex(8))
            return 200, token
        if headers.get(_TOKEN.lower()) not in self._tokens:
            return 401, ""
        found = self.documents.get(path.removeprefix("/latest/"))
        return (404, "") if found is None else (200, found)


@contextmanager
def serving(fake: FakeMetadata, *, host: str = "127.0.0.1") -> Iterator[FakeMetadata]:
    """Serve the documents at `fake.endpoint` until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, body = fake.answer(self.command, self.path, headers)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_PUT = answer  # noqa: N815  # the names that http.server calls

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer((host, 0), Handler) as server:
        fake.endpoint = f"http://{host}:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
