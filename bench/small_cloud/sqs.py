"""SQS's JSON protocol: queues with visibility timeouts, long polls, receive counts and dead letters."""

from __future__ import annotations

import asyncio
import heapq
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.small_cloud.http import Request, answer

_TYPE = {"Content-Type": "application/x-amz-json-1.0"}
_TIMEOUT_S = 30.0
_MAX_RECEIVES = 10
_DEAD = "-dead"
_AT_ONCE = 10


@dataclass(slots=True)
class _Message:
    id: str
    body: str
    sent_at: float
    receives: int = 0
    receipt: str = ""
    hidden_until: float = 0.0


@dataclass(slots=True)
class _Waiter:
    limit: int
    timeout_s: float
    done: Callable[[bytes], None]
    timer: asyncio.TimerHandle | None = None


class _Queue:
    """Messages wait in `waiting`, or are hidden under their receipt until `hidden_until`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.waiting: deque[_Message] = deque()
        self.hidden: dict[str, _Message] = {}
        self.waiters: deque[_Waiter] = deque()
        self.dead: _Queue | None = None
        self._due: list[tuple[float, str]] = []  # a heap; entries of messages that were extended or deleted are stale
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None

    def send(self, bodies: list[str]) -> None:
        for body in bodies:
            self._number += 1
            self.waiting.append(_Message(str(self._number), body, time.time()))
        self.serve_waiters()

    def receive(self, limit: int, timeout_s: float) -> list[_Message]:
        self._return_due()
        taken: list[_Message] = []
        while self.waiting and len(taken) < limit:
            message = self.waiting.popleft()
            if self.dead is not None and message.receives >= _MAX_RECEIVES:
                self.dead.waiting.append(message)
                continue
            message.receives += 1
            message.receipt = f"{message.id}-{message.receives}"
            self.hidden[message.receipt] = message
            self.hide(message, timeout_s)
            taken.append(message)
        return taken

    def hide(self, message: _Message, seconds: float) -> None:
        message.hidden_until = self._loop.time() + seconds
        heapq.heappush(self._due, (message.hidden_until, message.receipt))
        if self.waiters and not seconds:
            self.serve_waiters()

    def delete(self, receipt: str) -> None:
        self.hidden.pop(receipt, None)

    def serve_waiters(self) -> None:
        """Give messages to the polls that wait, the oldest first, and look again when the next one comes back."""
        self._return_due()
        while self.waiters and self.waiting:
            waiter = self.waiters.popleft()
            if waiter.timer is not None:
                waiter.timer.cancel()
            waiter.done(_received(self.receive(waiter.limit, waiter.timeout_s)))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.waiters and self._due:
            self._timer = self._loop.call_at(self._due[0][0], self.serve_waiters)

    def wait(self, waiter: _Waiter, wait_s: float) -> None:
        waiter.timer = self._loop.call_later(wait_s, self._give_up, waiter)
        self.waiters.append(waiter)
        self.serve_waiters()

    def _give_up(self, waiter: _Waiter) -> None:
        self.waiters.remove(waiter)
        waiter.done(_received([]))

    def counts(self) -> tuple[int, int]:
        """Return how many messages wait, and how many are hidden."""
        self._return_due()
        return len(self.waiting), len(self.hidden)

    def _return_due(self) -> None:
        """Make messages visible whose time is over, before those that were never received."""
        now = self._loop.time()
        while self._due and self._due[0][0] <= now:
            until, receipt = heapq.heappop(self._due)
            message = self.hidden.get(receipt)
            if message is not None and message.hidden_until == until:
                del self.hidden[receipt]
                self.waiting.appendleft(message)


class Sqs:
    """All queues. A queue exists once it is named."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queues: dict[str, _Queue] = {}

    def answer(self, operation: str, request: Request, done: Callable[[bytes], None]) -> None:
        """Answer one request, a receive perhaps later."""
        asked = json.loads(request.body)
        name = asked.get("QueueName") or asked["QueueUrl"].rpartition("/")[2]
        queue = self._queue(name)
        if operation == "ReceiveMessage":
            self._receive(queue, asked, done)
            return
        said = self._act(operation, name, queue, asked, request)
        done(answer(501, _TYPE, b"{}") if said is None else _json(said))

    def send(self, name: str, bodies: list[str]) -> None:
        """Append messages to a queue."""
        self._queue(name).send(bodies)

    def _queue(self, name: str) -> _Queue:
        if name not in self._queues:
            queue = self._queues[name] = _Queue(self._loop)
            if not name.endswith(_DEAD):
                queue.dead = self._queue(name + _DEAD)
        return self._queues[name]

    def _receive(self, queue: _Queue, asked: dict[str, Any], done: Callable[[bytes], None]) -> None:
        limit = min(asked.get("MaxNumberOfMessages", 1), _AT_ONCE)
        timeout_s, wait_s = asked.get("VisibilityTimeout", _TIMEOUT_S), asked.get("WaitTimeSeconds", 0)
        found = queue.receive(limit, timeout_s)
        if found or not wait_s:
            done(_received(found))
        else:
            queue.wait(_Waiter(limit, timeout_s, done), wait_s)

    def _act(
        self, operation: str, name: str, queue: _Queue, asked: dict[str, Any], request: Request
    ) -> dict[str, Any] | None:
        entries = asked.get("Entries", [])
        if operation == "SendMessageBatch":
            queue.send([entry["MessageBody"] for entry in entries])
            sent = [{"Id": entry["Id"], "MessageId": entry["Id"], "MD5OfMessageBody": ""} for entry in entries]
            return {"Successful": sent, "Failed": []}
        if operation == "DeleteMessageBatch":
            for entry in entries:
                queue.delete(entry["ReceiptHandle"])
        elif operation == "ChangeMessageVisibilityBatch":
            for entry in entries:
                if message := queue.hidden.get(entry["ReceiptHandle"]):
                    queue.hide(message, entry["VisibilityTimeout"])
        elif operation == "GetQueueUrl":
            return {"QueueUrl": f"http://{request.headers.get('host', '127.0.0.1')}/1/{name}"}
        elif operation == "GetQueueAttributes":
            return {"Attributes": self._attributes(name, queue)}
        else:
            return None
        return {"Successful": [{"Id": entry["Id"]} for entry in entries], "Failed": []}

    def _attributes(self, name: str, queue: _Queue) -> dict[str, str]:
        waiting, hidden = queue.counts()
        counts = {
            "ApproximateNumberOfMessages": waiting,
            "ApproximateNumberOfMessagesNotVisible": hidden,
            "ApproximateNumberOfMessagesDelayed": 0,
        }
        policy = {"deadLetterTargetArn": f"arn:aws:sqs:eu-central-1:1:{name}{_DEAD}", "maxReceiveCount": _MAX_RECEIVES}
        more = {"RedrivePolicy": json.dumps(policy)} if queue.dead is not None else {}
        return {key: str(value) for key, value in counts.items()} | more


def _received(messages: list[_Message]) -> bytes:
    return _json(
        {
            "Messages": [
                {
                    "MessageId": message.id,
                    "ReceiptHandle": message.receipt,
                    "Body": message.body,
                    "Attributes": {
                        "ApproximateReceiveCount": str(message.receives),
                        "SentTimestamp": str(int(message.sent_at * 1000)),
                    },
                }
                for message in messages
            ]
        }
    )


def _json(said: dict[str, Any]) -> bytes:
    return answer(200, _TYPE, json.dumps(said).encode())
