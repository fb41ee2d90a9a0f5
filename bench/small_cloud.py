"""Serve the parts of S3 and SQS that a worker uses, from memory, fast enough not to limit the measurement.

    python -m bench.small_cloud LATENCY_MS

prints the port and serves on loopback until standard input closes. Each answer takes at least LATENCY_MS. Signatures
are not checked, and objects stay until they are deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socketserver
import sys
import threading
import time
import uuid
from collections import deque
from heapq import nsmallest
from typing import Any
from urllib.parse import parse_qs

_lock = threading.Lock()
_objects: dict[str, bytes] = {}
_queues: dict[str, _Queue] = {}
_latency_s = 0.0
_PAGE = 1000
_STATUS = {200: "OK", 404: "Not Found", 501: "Not Implemented"}


class _Queue:
    """A queue without visibility timeouts: the measured worker acknowledges every message."""

    def __init__(self) -> None:
        self.waiting: deque[str] = deque()
        self.held: dict[str, str] = {}
        self.arrived = threading.Condition(_lock)


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    wbufsize = -1

    def handle(self) -> None:
        while line := self.rfile.readline():
            method, path, _ = line.decode("latin-1").split(" ", 2)
            headers: dict[str, str] = {}
            while header := self.rfile.readline().decode("latin-1").strip():
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            if headers.get("expect"):
                self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.wfile.flush()
            body = self.rfile.read(int(headers.get("content-length", 0)))
            if _latency_s:
                time.sleep(_latency_s)
            target = headers.get("x-amz-target", "").rpartition(".")[2]
            status, more, answer = _queue_asked(target, json.loads(body)) if target else _object(method, path, body)
            head = f"HTTP/1.1 {status} {_STATUS[status]}\r\n{more}Content-Length: {len(answer)}\r\n\r\n"
            self.wfile.write(head.encode() + answer)
            self.wfile.flush()


def _object(method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
    bucket, _, query = path.partition("?")
    if method == "POST" and query.startswith("delete"):
        return 200, "", _deleted(bucket, body)
    if method == "GET" and "list-type=2" in query:
        return 200, "", _listed(bucket, parse_qs(query))
    if method == "PUT":
        _objects[path] = body
        return 200, f'ETag: "{hashlib.md5(body, usedforsecurity=False).hexdigest()}"\r\n', b""
    data = _objects.get(path)
    if method == "GET" and data is not None:
        return 200, 'ETag: "0"\r\nContent-Type: image/jpeg\r\n', data
    if method == "GET":
        return 404, "", b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>"
    return 501, "", b""


def _deleted(bucket: str, body: bytes) -> bytes:
    for key in re.findall(r"<Key>([^<]*)</Key>", body.decode()):
        _objects.pop(f"{bucket}/{key}", None)
    return b"<DeleteResult/>"


def _listed(bucket: str, asked: dict[str, list[str]]) -> bytes:
    """Return a page of at most 1,000 objects. The continuation token is the last key of the page before."""
    prefix, after = asked.get("prefix", [""])[0], asked.get("continuation-token", asked.get("start-after", [""]))[0]
    keys = (path.removeprefix(f"{bucket}/") for path in list(_objects) if path.startswith(f"{bucket}/{prefix}"))
    found = nsmallest(_PAGE + 1, (key for key in keys if key > after))
    more = len(found) > _PAGE
    entries = "".join(
        f'<Contents><Key>{key}</Key><Size>1</Size><ETag>"0"</ETag><LastModified>2026-01-01T00:00:00.000Z</LastModified>'
        "</Contents>"
        for key in found[:_PAGE]
    )
    token = f"<NextContinuationToken>{found[_PAGE - 1]}</NextContinuationToken>" if more else ""
    return (
        f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
    ).encode()


def _queue_asked(operation: str, asked: dict[str, Any]) -> tuple[int, str, bytes]:
    name = asked.get("QueueName") or asked["QueueUrl"].rpartition("/")[2]
    with _lock:
        queue = _queues.setdefault(name, _Queue())
        answer: dict[str, Any] = {
            "Successful": [{"Id": entry["Id"]} for entry in asked.get("Entries", [])],
            "Failed": [],
        }
        if operation == "GetQueueUrl":
            answer = {"QueueUrl": f"http://127.0.0.1/{name}"}
        elif operation == "SendMessageBatch":
            queue.waiting.extend(entry["MessageBody"] for entry in asked["Entries"])
            queue.arrived.notify_all()
            for done in answer["Successful"]:
                done |= {"MessageId": done["Id"], "MD5OfMessageBody": ""}
        elif operation == "ReceiveMessage":
            answer = _received(queue, asked["MaxNumberOfMessages"], asked["WaitTimeSeconds"])
        elif operation == "DeleteMessageBatch":
            for entry in asked["Entries"]:
                queue.held.pop(entry["ReceiptHandle"], None)
        elif operation != "ChangeMessageVisibilityBatch":
            return 501, "", b"{}"
    return 200, "Content-Type: application/x-amz-json-1.0\r\n", json.dumps(answer).encode()


def _received(queue: _Queue, limit: int, wait_s: float) -> dict[str, Any]:
    queue.arrived.wait_for(lambda: queue.waiting, wait_s)
    messages = []
    for _ in range(min(limit, len(queue.waiting))):
        body, receipt = queue.waiting.popleft(), uuid.uuid4().hex
        queue.held[receipt] = body
        attributes = {"ApproximateReceiveCount": "1", "SentTimestamp": str(int(time.time() * 1000))}
        messages.append({"MessageId": receipt, "ReceiptHandle": receipt, "Body": body, "Attributes": attributes})
    return {"Messages": messages}


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Serve until standard input closes."""
    global _latency_s
    _latency_s = float(sys.argv[1]) / 1000
    server = _Server(("127.0.0.1", 0), _Connection)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
