"""Serve the parts of S3, SQS and EC2 that a controller's tick uses, fast enough not to limit the measurement.

`python -m bench.stub_cloud` prints the port and serves on loopback until standard input closes. `POST /beat?workers=N`
renews the heartbeats of N workers and makes EC2 list N instances.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from core.fleet.roster import Heartbeat, WorkerState
from core.storage import layout

MESSAGES = 1_000_000
_objects: dict[str, bytes] = {}
_instances: list[str] = []
_lock = threading.Lock()
_seq = 0


def _beat(workers: int) -> None:
    global _seq
    _seq += 1
    now = time.time()
    ids = [f"i-{number:017x}" for number in range(workers)]
    _instances[:] = ids
    for id_ in ids:
        beat = Heartbeat(
            worker_id=id_,
            pool="resnet50",
            tagger="resnet50",
            state=WorkerState.BUSY,
            seq=_seq,
            at=now,
            state_since=now - 60,
            started_at=now - 600,
            held=64,
            images_done=200 * _seq,
            busy_seconds=5.0 * _seq,
            engine="torch",
        )
        _objects[layout.worker_key(id_)] = beat.model_dump_json().encode()


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        if "list-type" in query:
            self._answer(200, _listing(query).encode())
            return
        data = _objects.get(_key(parts.path))
        if data is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._answer(200, data, ETag=_etag(data))

    def do_PUT(self) -> None:
        data, key = self._body(), _key(urlsplit(self.path).path)
        with _lock:
            there = _objects.get(key)
            wants = self.headers.get("If-Match")
            if (self.headers.get("If-None-Match") and there is not None) or (wants and wants != _etag(there or b"")):
                self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
                return
            _objects[key] = data
        self._answer(200, b"", ETag=_etag(data))

    def do_POST(self) -> None:
        body, parts = self._body(), urlsplit(self.path)
        if parts.path == "/beat":
            _beat(int(parse_qs(parts.query)["workers"][0]))
            self._answer(200, b"")
        elif target := self.headers.get("X-Amz-Target", ""):
            self._answer(200, json.dumps(_sqs(target, json.loads(body), self.headers["Host"])).encode())
        else:
            self._answer(200, _ec2(parse_qs(body.decode())).encode())

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" in self.headers.get("Content-Encoding", ""):
            size, _, rest = data.partition(b"\r\n")
            return rest[: int(size.partition(b";")[0], 16)]
        return data

    def _answer(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Do nothing: logging would take time from the measurement."""


def _key(path: str) -> str:
    return unquote(path).split("/", 2)[2]


def _listing(query: dict[str, list[str]]) -> str:
    prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", query.get("start-after", [""]))[0]
    keys = sorted(key for key in list(_objects) if key.startswith(prefix) and key > after)
    page, more = keys[:1000], len(keys) > 1000
    entries = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>{_etag(_objects[key])}</ETag><Size>{len(_objects[key])}</Size></Contents>"
        for key in page
    )
    following = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if more else ""
    return f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{following}{entries}</ListBucketResult>"


def _sqs(target: str, asked: dict[str, Any], host: str) -> dict[str, Any]:
    if target.endswith("GetQueueUrl"):
        return {"QueueUrl": f"http://{host}/1/{asked['QueueName']}"}
    dead = asked["QueueUrl"].endswith("-dead")
    visible = 0 if dead or not _instances else MESSAGES
    counts = {"ApproximateNumberOfMessages": visible, "ApproximateNumberOfMessagesNotVisible": 0}
    policy = {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:1:dead", "maxReceiveCount": 5}
    attributes = {**counts, "ApproximateNumberOfMessagesDelayed": 0, "RedrivePolicy": json.dumps(policy)}
    return {"Attributes": {name: str(value) for name, value in attributes.items()}}


def _ec2(asked: dict[str, list[str]]) -> str:
    action = asked["Action"][0]
    if action != "DescribeInstances":
        return f"<{action}Response><spotPriceHistorySet/></{action}Response>"
    machines = "".join(map(_machine, _instances))
    return f"<{action}Response><reservationSet>{machines}</reservationSet></{action}Response>"


def _machine(id: str) -> str:
    """Describe an instance in about 4 kB, as EC2 does: parsing it is part of a tick's work."""
    tags = {
        "Name": "tagfleet-resnet50",
        "tagfleet:deployment": "tagfleet",
        "tagfleet:pool": "resnet50",
        "tagfleet:token": "t",
        "tagfleet:price": "0.2",
    }
    tag_set = "".join(f"<item><key>{key}</key><value>{value}</value></item>" for key, value in tags.items())
    network = "".join(
        f"<item><networkInterfaceId>eni-{n}</networkInterfaceId><subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId>"
        "<status>in-use</status><macAddress>02:00:00:00:00:00</macAddress><privateIpAddress>10.0.0.1</privateIpAddress>"
        "<groupSet><item><groupId>sg-1</groupId><groupName>workers</groupName></item></groupSet><attachment>"
        "<attachmentId>eni-attach-1</attachmentId><deviceIndex>0</deviceIndex><status>attached</status>"
        "<attachTime>2026-01-01T00:00:00.000Z</attachTime><deleteOnTermination>true</deleteOnTermination></attachment>"
        "</item>"
        for n in (0,)
    )
    return (
        "<item><reservationId>r-1</reservationId><ownerId>1</ownerId><groupSet/><instancesSet><item>"
        f"<instanceId>{id}</instanceId><imageId>ami-1</imageId><instanceState><code>16</code><name>running</name>"
        "</instanceState><privateDnsName>ip-10-0-0-1.ec2.internal</privateDnsName><dnsName/><reason/>"
        "<amiLaunchIndex>0</amiLaunchIndex><productCodes/><instanceType>g4dn.xlarge</instanceType>"
        "<launchTime>2026-01-01T00:00:00.000Z</launchTime><placement><availabilityZone>us-east-1a</availabilityZone>"
        "<groupName/><tenancy>default</tenancy></placement><monitoring><state>disabled</state></monitoring>"
        "<subnetId>subnet-1</subnetId><vpcId>vpc-1</vpcId><privateIpAddress>10.0.0.1</privateIpAddress>"
        "<sourceDestCheck>true</sourceDestCheck><groupSet><item><groupId>sg-1</groupId><groupName>workers</groupName>"
        "</item></groupSet><architecture>x86_64</architecture><rootDeviceType>ebs</rootDeviceType>"
        "<rootDeviceName>/dev/xvda</rootDeviceName><blockDeviceMapping><item><deviceName>/dev/xvda</deviceName><ebs>"
        "<volumeId>vol-1</volumeId><status>attached</status><attachTime>2026-01-01T00:00:00.000Z</attachTime>"
        "<deleteOnTermination>true</deleteOnTermination></ebs></item></blockDeviceMapping>"
        "<virtualizationType>hvm</virtualizationType><clientToken>t</clientToken><hypervisor>xen</hypervisor>"
        f"<networkInterfaceSet>{network}</networkInterfaceSet><iamInstanceProfile><arn>arn:aws:iam::1:x</arn><id>A</id>"
        "</iamInstanceProfile><ebsOptimized>true</ebsOptimized><enaSupport>true</enaSupport><instanceLifecycle>spot"
        "</instanceLifecycle><metadataOptions><state>applied</state><httpTokens>required</httpTokens>"
        "<httpPutResponseHopLimit>1</httpPutResponseHopLimit><httpEndpoint>enabled</httpEndpoint></metadataOptions>"
        f"<tagSet>{tag_set}</tagSet></item></instancesSet></item>"
    )


def main() -> None:
    """Serve until standard input closes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
