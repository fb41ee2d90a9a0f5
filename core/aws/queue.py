"""An SQS queue with its dead letters. Each request carries as many messages as SQS allows, as SQS charges by request.

Decision 12 lists the properties of SQS that it relies on.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from core.aws.clients import LONG_POLL_S, Clients
from core.aws.errors import translate_errors
from core.errors import PartialSend, Unavailable
from core.storage.ports import Delivery, Depth
from core.util.backoff import compute_backoff

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

FULL = 10
"""The most messages in one request."""
MAX_BYTES = 256 << 10
"""The most bytes in one request. Newer queues take 1 MiB, but every queue takes 256 KiB."""
DEAD = "-dead"
PEEKED_S = 10.0
"""The longest time for which peeking hides a message."""
_PEEK_WAIT_S = 1
"""A receive without a wait asks only some of SQS's servers: if the queue holds few messages, it may find none."""
_MAX_HIDDEN_S = 43_200
_ROUNDS, _FIRST_PAUSE_S, _LONGEST_PAUSE_S = 4, 0.1, 0.4
"""Tries of one request, and the pauses between them."""
_COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
_OUTDATED = frozenset(
    {"receipthandleisinvalid", "invalidreceipthandle", "invalidparametervalue", "invalididformat"}
    | {"messagenotinflight", "messagenotfound", "messagedoesnotexist"}
)
"""Codes for an outdated receipt, and (`invalidparametervalue`) for a message hidden for 12 h; no retry helps.

AWS puts `AWS.SimpleQueueService.` before some of them, other servers a namespace and `#`; LocalStack adds `Exception`.
They are in lower case because servers differ in case too.
"""


class SqsQueue:
    """Uses the queue DEPLOYMENT-NAME, which must exist with its redrive policy. Safe for several threads.

    SQS gets durations in whole seconds, rounded up. `depth` counts dead letters at most every `dead_every_s` seconds:
    their number changes quickly only if people change it. `clock` gives Unix seconds.
    """

    def __init__(
        self,
        clients: Clients,
        deployment: str,
        name: str,
        *,
        visibility_timeout_s: float,
        dead_every_s: float = 30.0,
        redrive_wait_s: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._clients = clients
        self._deployment = deployment
        self._visibility_timeout_s = visibility_timeout_s
        self._dead_every_s = dead_every_s
        self._redrive_wait_s = redrive_wait_s
        self._clock = clock
        self._full_name = f"{deployment}-{name}"
        self._known_url = ""
        self._dead: SqsQueue | None = None
        self._dead_count = (0, -math.inf)

    @property
    def per_request(self) -> int:
        return FULL

    def send(self, bodies: Sequence[str]) -> None:
        unsent: list[int] = []
        cause: Unavailable | None = None
        for batch in _batches(bodies):
            left, cause = self._send(batch, bodies)
            unsent += left
            if cause is not None:
                unsent += range(batch.stop, len(bodies))
                break
        if cause is not None and len(unsent) == len(bodies):
            raise cause
        if unsent:
            raise PartialSend(self.name, unsent) from cause

    def receive(self, limit: int, wait_s: float) -> list[Delivery]:
        """Receive with one request of up to ten, then more requests of ten while each comes back full.

        Only the first request waits. A limit above ten is rounded down to full requests.
        """
        found = self._receive(min(limit, FULL), _whole_seconds(wait_s, LONG_POLL_S))
        while len(found) % FULL == 0 and found and limit - len(found) >= FULL:
            with suppress(Unavailable):  # keep the messages received so far
                if more := self._receive(FULL, 0):
                    found += more
                    continue
            break
        return found

    def peek(self, limit: int, after: str = "") -> list[Delivery]:
        """Receive up to `limit` messages, make them visible again and return them without receipts or positions.

        If this process is killed meanwhile, they stay hidden for `PEEKED_S` at most.
        """
        found: list[Delivery] = []
        try:
            while len(found) < limit and (
                more := self._receive(min(limit - len(found), FULL), _PEEK_WAIT_S, hidden_s=PEEKED_S)
            ):
                found += more
        finally:
            self.set_visibility(found, 0)
        counted = self._deliveries_before_death()
        return [replace(it, receipt="", receive_count=int(min(it.receive_count - 1, counted))) for it in found]

    def delete(self, deliveries: Sequence[Delivery]) -> None:
        def ask(entries: list[Any]) -> Mapping[str, Any]:
            return self._sqs.delete_message_batch(QueueUrl=self._url(), Entries=entries)

        self._each("delete messages of", deliveries, ask, {})

    def set_visibility(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        def ask(entries: list[Any]) -> Mapping[str, Any]:
            return self._sqs.change_message_visibility_batch(QueueUrl=self._url(), Entries=entries)

        self._each("hide messages of", deliveries, ask, {"VisibilityTimeout": _whole_seconds(seconds, _MAX_HIDDEN_S)})

    def depth(self) -> Depth:
        now = self._clock()
        dead, counted_at = self._dead_count
        if now - counted_at >= self._dead_every_s:
            visible, in_flight, _ = self._dead_letters()._counts()
            dead = visible + in_flight
            self._dead_count = dead, now
        visible, in_flight, delayed = self._counts()
        return Depth(visible=visible, in_flight=in_flight, delayed=delayed, dead=dead, read_at=now)

    def dead_letters(self) -> SqsQueue:
        return self._dead_letters()

    def redrive(self, limit: int) -> int:
        """Send each dead letter again, then delete it: a crash in between duplicates messages and loses none."""
        dead = self._dead_letters()
        moved = 0
        while moved < limit and (letters := dead.receive(min(FULL, limit - moved), self._redrive_wait_s)):
            try:
                self.send([letter.body for letter in letters])
            except Unavailable as error:
                unsent = error.unsent if isinstance(error, PartialSend) else range(len(letters))
                left = [letters[index] for index in unsent]
                dead.delete([letter for letter in letters if letter not in left])
                dead.set_visibility(left, 0)
                raise
            dead.delete(letters)
            moved += len(letters)
        self._dead_count = (0, -math.inf)
        return moved

    # --- requests -----------------------------------------------------------------------------

    @property
    def _sqs(self) -> SQSClient:
        return self._clients.sqs

    def _url(self) -> str:
        if not self._known_url:
            self._known_url = self._sqs.get_queue_url(QueueName=self._full_name)["QueueUrl"]
        return self._known_url

    def _translate_errors(self, doing: str) -> AbstractContextManager[None]:
        return translate_errors(f"{doing} queue {self._full_name}", "sqs")

    def _dead_letters(self) -> SqsQueue:
        if self._dead is None:
            self._dead = _DeadLetters(self)
        return self._dead

    def _counts(self) -> tuple[int, int, int]:
        with self._translate_errors("count the messages of"):
            found = self._sqs.get_queue_attributes(QueueUrl=self._url(), AttributeNames=_COUNTS)["Attributes"]
        visible, in_flight, delayed = (int(found[name]) for name in _COUNTS)
        return visible, in_flight, delayed

    def _deliveries_before_death(self) -> float:
        """Return the most deliveries that `peek` reports for a message: for dead letters, later reads do not count."""
        return math.inf

    def _receive(self, limit: int, wait_s: int, hidden_s: float | None = None) -> list[Delivery]:
        hidden_s = self._visibility_timeout_s if hidden_s is None else hidden_s
        with self._translate_errors("receive from"):
            answer = self._sqs.receive_message(
                QueueUrl=self._url(),
                MaxNumberOfMessages=limit,
                WaitTimeSeconds=wait_s,
                VisibilityTimeout=_whole_seconds(hidden_s, _MAX_HIDDEN_S),
                MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
            )
        return [
            Delivery(
                body=message["Body"],
                receipt=message["ReceiptHandle"],
                receive_count=int(message["Attributes"]["ApproximateReceiveCount"]),
                sent_at=int(message["Attributes"]["SentTimestamp"]) / 1000,
            )
            for message in answer.get("Messages", [])
        ]

    def _send(self, batch: range, bodies: Sequence[str]) -> tuple[list[int], Unavailable | None]:
        """Send a batch in several rounds. Return the positions that SQS did not accept, and the error if one failed."""
        left = list(batch)
        for number in range(_ROUNDS):
            entries: list[Any] = [{"Id": str(index), "MessageBody": bodies[index]} for index in left]
            try:
                with self._translate_errors("send to"):
                    answer = self._sqs.send_message_batch(QueueUrl=self._url(), Entries=entries)
            except Unavailable as error:
                return left, error
            left = [int(failed["Id"]) for failed in answer.get("Failed", [])]
            if not left or number == _ROUNDS - 1:
                break
            _pause(number)
        return left, None

    def _each(
        self,
        doing: str,
        deliveries: Sequence[Delivery],
        ask: Callable[[list[Any]], Mapping[str, Any]],
        more: Mapping[str, Any],
    ) -> None:
        """Send one request for each ten receipts. Send receipts again that failed and may still succeed."""
        receipts = list(dict.fromkeys(delivery.receipt for delivery in deliveries))
        for start in range(0, len(receipts), FULL):
            left = dict(enumerate(receipts[start : start + FULL]))
            for number in range(_ROUNDS):
                entries = [{"Id": str(id_), "ReceiptHandle": receipt, **more} for id_, receipt in left.items()]
                with self._translate_errors(doing):
                    answer = _ask_singly(ask, entries)
                failed = [found for found in answer if not _is_outdated(found)]
                left = {int(found["Id"]): left[int(found["Id"])] for found in failed}
                if not left:
                    break
                if number == _ROUNDS - 1:
                    raise Unavailable(
                        f"cannot {doing} queue {self._full_name}: SQS refuses {len(left)} of them"
                        f" ({failed[0]['Code']}); it is safe to try again"
                    )
                _pause(number)


def _pause(number: int) -> None:
    time.sleep(compute_backoff(number, base_s=_FIRST_PAUSE_S, cap_s=_LONGEST_PAUSE_S))


class _DeadLetters(SqsQueue):
    """The dead letters of `parent`: an ordinary queue without dead letters of its own."""

    def __init__(self, parent: SqsQueue) -> None:
        self._parent = parent
        self._died_after: float | None = None
        super().__init__(
            parent._clients,
            parent._deployment,
            parent.name + DEAD,
            visibility_timeout_s=parent._visibility_timeout_s,
            clock=parent._clock,
        )

    def depth(self) -> Depth:
        visible, in_flight, delayed = self._counts()
        return Depth(visible=visible, in_flight=in_flight, delayed=delayed, dead=0, read_at=self._clock())

    def _deliveries_before_death(self) -> float:
        """Return the parent's `maxReceiveCount`, the count when a letter died. SQS adds later reads to that."""
        if self._died_after is None:
            with self._parent._translate_errors("read the redrive policy of"):
                found = self._sqs.get_queue_attributes(QueueUrl=self._parent._url(), AttributeNames=["RedrivePolicy"])
            policy = json.loads(found.get("Attributes", {}).get("RedrivePolicy", "{}"))
            self._died_after = float(policy.get("maxReceiveCount", math.inf))
        return self._died_after

    def dead_letters(self) -> SqsQueue:
        raise ValueError(f"queue {self.name!r} holds dead letters and has none of its own")

    def redrive(self, limit: int) -> int:
        """Return 0: redrive the queue that these dead letters came from."""
        return 0


def _batches(bodies: Sequence[str]) -> Iterator[range]:
    """Yield the positions of the messages of each request."""
    start, held = 0, 0
    for index, body in enumerate(bodies):
        size = len(body.encode())
        if index > start and (index - start == FULL or held + size > MAX_BYTES):
            yield range(start, index)
            start, held = index, 0
        held += size
    if bodies:
        yield range(start, len(bodies))


def _whole_seconds(seconds: float, most: int) -> int:
    return min(most, max(0, math.ceil(seconds)))


def _ask_singly(ask: Callable[[list[Any]], Mapping[str, Any]], entries: list[Any]) -> list[Mapping[str, Any]]:
    """Return the refused entries. If a server refuses all of them for one outdated receipt, send each by itself."""
    try:
        return list(ask(entries).get("Failed", []))
    except ClientError as error:
        if not _is_outdated(error.response.get("Error", {})):
            raise
    if len(entries) == 1:
        return []
    return [failed for entry in entries for failed in _ask_singly(ask, [entry])]


def _is_outdated(refusal: Mapping[str, Any]) -> bool:
    """Return whether the failure of an entry or a request says that its receipt is outdated."""
    code = re.split(r"[.#:]", str(refusal.get("Code", "")))[-1].removesuffix("Exception").lower()
    says_so = "receipt" in str(refusal.get("Message", "")).lower() and refusal.get("SenderFault") is True
    return code in _OUTDATED or says_so
