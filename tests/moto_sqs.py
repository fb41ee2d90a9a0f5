"""Correct moto's SQS where it differs from AWS's documentation, except for FIFO queues."""

from __future__ import annotations

import copy
import threading
import time

from moto.core import utils
from moto.sqs import models
from moto.sqs.exceptions import InvalidParameterValue, ReceiptHandleIsInvalid, SQSException

_ahead_s = 0.0
_LONGEST_HIDDEN_MS = 43_200_000
_LOOK_AGAIN_S = 0.05
_changed = threading.Condition()
"""Guards all queues, so that no two receives take the same message, and wakes waiting receives."""


def pass_time(seconds: float) -> None:
    """Set the clock of every queue ahead."""
    global _ahead_s
    _ahead_s += seconds


def apply() -> None:
    """Replace moto's functions by those of this module."""
    models.unix_time = lambda: utils.unix_time() + _ahead_s
    models.unix_time_millis = lambda: utils.unix_time_millis() + 1000 * _ahead_s
    models.Queue.delete_message = _delete
    models.Queue.add_message = _add
    models.SQSBackend.receive_message = _receive
    models.SQSBackend.change_message_visibility = _hide
    models.SQSBackend.change_message_visibility_batch = _hide_batch


def _add(queue: models.Queue, message: models.Message) -> None:
    with _changed:
        queue._messages.append(message)
        _changed.notify_all()


def _delete(queue: models.Queue, receipt_handle: str) -> None:
    """Delete a message by its last receipt only.

    "When you use the DeleteMessage action, you must provide the most recently received ReceiptHandle for the message
    (otherwise, the request succeeds, but the message will not be deleted)."
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html
    """
    with _changed:
        for message in queue._messages:
            if message.receipt_handle == receipt_handle:
                queue._messages.remove(message)
                queue.deleted_messages.update(message.all_receipt_handles)
                return
            if message.had_receipt_handle(receipt_handle):
                return
        if receipt_handle not in queue.deleted_messages:
            raise ReceiptHandleIsInvalid


def _receive(
    backend: models.SQSBackend,
    queue_name: str,
    count: int,
    wait_seconds_timeout: int,
    visibility_timeout: int,
    message_attribute_names: list[str] | None = None,
) -> list[models.Message]:
    """Receive as moto does, but safely for threads, and as soon as a message arrives instead of once a second.

    "The call returns as soon as a message is available."
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
    """
    queue = backend.get_queue(queue_name)
    until = time.monotonic() + wait_seconds_timeout
    with _changed:
        while True:
            found = _take(queue, count, visibility_timeout)
            left = until - time.monotonic()
            if found or left <= 0:
                return found
            _changed.wait(min(left, _LOOK_AGAIN_S))  # a visibility timeout ends without a notification


def _take(queue: models.Queue, count: int, visibility_timeout: int) -> list[models.Message]:
    """Take up to `count` messages, and move every message delivered too often to the dead letters.

    moto moves only those before the last message taken.
    """
    taken = []
    for message in queue.messages:
        dead = queue.dead_letter_queue
        if dead is not None and message.approximate_receive_count >= queue.redrive_policy["maxReceiveCount"]:
            queue._messages.remove(message)
            dead._messages.append(message)
        elif len(taken) < count:
            message.mark_received(visibility_timeout)
            message.received_at = models.unix_time_millis()
            taken.append(copy.copy(message))
    return taken


def _hide(backend: models.SQSBackend, queue_name: str, receipt_handle: str, visibility_timeout: int) -> None:
    """Change the visibility by the last receipt only, and by 12 hours at most.

    "ReceiptHandle: The receipt handle associated with the message, whose visibility timeout is changed. This
    parameter is returned by the ReceiveMessage action." "MessageNotInflight: The specified message isn't in flight."
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
    "The maximum visibility timeout is 12 hours, starting from the time that Amazon SQS receives the ReceiveMessage
    request. Extending the visibility timeout does not reset this 12-hour limit."
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
    """
    with _changed:
        for message in backend.get_queue(queue_name)._messages:
            if message.receipt_handle == receipt_handle:
                if message.visible:
                    raise SQSException("MessageNotInflight", "The specified message isn't in flight.")
                until = models.unix_time_millis() + 1000 * int(visibility_timeout)
                if until - message.received_at > _LONGEST_HIDDEN_MS:
                    raise InvalidParameterValue("Total VisibilityTimeout for the message is beyond the limit")
                message.visible_at = until - 1  # a millisecond earlier, so that 0 releases it now
                _changed.notify_all()
                return
    raise InvalidParameterValue("Message does not exist or is not available for visibility timeout change.")


def _hide_batch(backend: models.SQSBackend, queue_name: str, entries: list[dict]) -> tuple[list[str], list[dict]]:
    """Change the visibility of each entry and answer for each.

    "The result of the action on each message is reported individually in the response."
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibilityBatch.html
    """
    done, failed = [], []
    for entry in entries:
        try:
            _hide(backend, queue_name, entry["ReceiptHandle"], entry["VisibilityTimeout"])
            done.append(entry["Id"])
        except SQSException as error:
            code = getattr(error, "code", "") or "InvalidParameterValue"
            failed.append({"Id": entry["Id"], "SenderFault": True, "Code": code, "Message": str(error)})
    return done, failed
