"""The metadata service of EC2: an instance's id, its age, and whether it is about to be taken away.

It speaks IMDSv2: a session token by PUT, then GETs that carry it. Paths and formats are those of the EC2 User Guide
("Spot Instance interruption notices", "EC2 instance rebalance recommendations", "Instance identity").
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property, partial
from typing import Any
from urllib.parse import urlsplit

from core.errors import Unavailable
from core.util.backoff import retry

_ENDPOINT = "http://169.254.169.254"
_TOKEN = "/latest/api/token"  # noqa: S105  # the path that issues tokens
_IDENTITY = "/latest/dynamic/instance-identity/document"
_USER_DATA = "/latest/user-data"
_TAGS = "/latest/meta-data/tags/instance/"
_INTERRUPTION = "/latest/meta-data/spot/instance-action"
_REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
_TOKEN_TTL_S = 21_600  # the longest that EC2 allows
_TIMEOUT_S = 10.0  # the service is on the same host: it answers in milliseconds, or in seconds if the host is very busy
_TRIES, _FIRST_PAUSE_S = 3, 0.4
_DOES = {"terminate": "ends", "stop": "stops", "hibernate": "hibernates"}


class Ec2Machine:
    """The instance that this process runs on. Nothing is requested before it is needed.

    `environ` may hold AWS_EC2_METADATA_SERVICE_ENDPOINT and AWS_EC2_METADATA_DISABLED, with boto3's meaning.
    """

    def __init__(self, environ: Mapping[str, str], *, timeout_s: float = _TIMEOUT_S) -> None:
        self._endpoint = (environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or _ENDPOINT).rstrip("/")
        self._disabled = environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
        self._timeout_s = timeout_s
        self._token = ""

    @property
    def id(self) -> str:
        return str(self._identity["instanceId"])

    @property
    def launched_at(self) -> float:
        """When EC2 accepted the launch: Unix seconds, without a fraction."""
        return _unix(str(self._identity["pendingTime"]))

    def tag(self, name: str) -> str:
        """Return the value of an instance's tag, "" if it has none. Our launches always put tags into the metadata."""
        return self._read(_TAGS + name) or ""

    def notice(self) -> str:
        """Return why this instance is about to be taken away; "" while it is not. Raises Unavailable."""
        interruption = self._get(_INTERRUPTION)
        if interruption is not None:
            found = _parse_object(interruption)
            return f"EC2 {_DOES.get(str(found.get('action')), 'ends')} this spot instance{_at(found.get('time'))}"
        return ""

    def risk(self) -> str:
        """Return EC2's rebalance recommendation as a sentence, "" if there is none. Raises Unavailable.

        It means that an interruption is likelier than usual; it may never come.
        """
        rebalance = self._get(_REBALANCE)
        if rebalance is None:
            return ""
        when = _at(_parse_object(rebalance).get("noticeTime"))
        return f"EC2 may soon end this spot instance (rebalance recommendation{when})"

    def user_data(self) -> str:
        """Return the instance's user data, "" if it has none. Raises Unavailable."""
        return self._read(_USER_DATA) or ""

    @cached_property
    def _identity(self) -> dict[str, Any]:
        found = _parse_object(self._read(_IDENTITY) or "")
        if not found.get("instanceId") or not found.get("pendingTime"):
            raise Unavailable(f"the instance metadata at {self._endpoint} does not say which instance this is")
        return found

    def _read(self, path: str) -> str | None:
        """Return the document at `path`, None if there is none. Retry: the service may start late, and throttles."""
        return retry(partial(self._get, path), Unavailable, tries=_TRIES, base_s=_FIRST_PAUSE_S)

    def _get(self, path: str) -> str | None:
        """Return the document at `path`, None if there is none. Raises Unavailable."""
        if self._disabled:
            raise Unavailable("instance metadata is switched off (AWS_EC2_METADATA_DISABLED)")
        for _ in range(2):  # an expired token is renewed once
            if not self._token:
                self._token = self._ask("PUT", _TOKEN, {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_TTL_S)})[1]
            status, text = self._ask("GET", path, {"X-aws-ec2-metadata-token": self._token})
            if status != http.client.UNAUTHORIZED:
                return None if status == http.client.NOT_FOUND else text
            self._token = ""
        raise self._unavailable("it refuses its own tokens (401)")

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        """Return status and body. The status is 200, for a GET also 401 or 404. Ignores proxies of the environment."""
        where = urlsplit(self._endpoint)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=self._timeout_s)
        try:
            connection.request(method, where.path + path, headers=headers)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise self._unavailable(str(error) or type(error).__name__) from None
        finally:
            connection.close()
        expected = (200, 401, 404) if method == "GET" else (200,)
        if response.status not in expected:
            raise self._unavailable(f"{response.status} {response.reason} for {path}")
        return response.status, text

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(
            f"the instance metadata service at {self._endpoint} does not answer ({why}): "
            "is this an EC2 instance, and its metadata enabled?"
        )


def _parse_object(text: str) -> dict[str, Any]:
    """Return the JSON object in `text`, {} for anything else: an unreadable notice is still a notice."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _at(moment: object) -> str:
    """Return an ISO time as ` at 12:03:10Z`, "" if it is not one."""
    try:
        return f" at {datetime.fromisoformat(str(moment)):%H:%M:%S}Z"
    except ValueError:
        return ""


def _unix(moment: str) -> float:
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError:
        raise Unavailable(f"the instance metadata gives {moment!r} as the time of the launch") from None
