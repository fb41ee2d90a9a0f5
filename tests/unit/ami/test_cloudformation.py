"""A stack whose drift cannot be told, or whose end failed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ami.aws.cloudformation import Stack, StackState
from core.aws.clients import Clients
from core.errors import Unavailable
from tests.cloud import clients_of
from tests.faulty import Answer, Faulty


class Detecting:
    """CloudFormation's answers about drift, one after the other; the last one stays."""

    def __init__(self, *answers: dict[str, str]) -> None:
        self._answers = list(answers)

    def detect_stack_drift(self, **_: str) -> dict[str, str]:
        return {"StackDriftDetectionId": "1"}

    def describe_stack_drift_detection_status(self, **_: str) -> dict[str, str]:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def describe_stack_resource_drifts(self, **_: Any) -> dict[str, Any]:
        return {"StackResourceDrifts": [{"LogicalResourceId": "InputBucket"}]}


IN_PROGRESS = {"DetectionStatus": "DETECTION_IN_PROGRESS"}
FAILED = {"DetectionStatus": "DETECTION_FAILED", "DetectionStatusReason": "Failed to detect drift on [Spend]"}


def drift(*answers: dict[str, str]) -> list[str]:
    clients = cast(Clients, SimpleNamespace(cloudformation=Detecting(*answers)))
    return Stack(clients, "photos", pause=lambda _: None).drift()


def test_drift_is_waited_for() -> None:
    assert drift(IN_PROGRESS, IN_PROGRESS, {"DetectionStatus": "DETECTION_COMPLETE"}) == ["InputBucket"]


@pytest.mark.parametrize(("answer", "why"), [(FAILED, "Failed to detect drift"), (IN_PROGRESS, "IN_PROGRESS")])
def test_what_was_not_looked_at_to_the_end_is_not_called_unchanged(answer: dict[str, str], why: str) -> None:
    with pytest.raises(Unavailable, match=f"could not look at every resource of stack photos: .*{why}"):
        drift(answer)


def test_an_answer_that_is_none_of_awss_is_told_in_a_line() -> None:
    with Faulty("http://127.0.0.1:1").running() as proxy:
        proxy.always(Answer(502, b"<!doctype html>\n<title>Bad Gateway", {"Content-Type": "text/html"}))
        with pytest.raises(Unavailable, match="look for drift of stack photos: the server does not speak") as caught:
            Stack(clients_of(proxy.endpoint, attempts=1), "photos").drift()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("status", "updatable"), [("DELETE_FAILED", False), ("UPDATE_ROLLBACK_COMPLETE", True)])
def test_a_stack_that_failed_to_be_deleted_cannot_be_updated(status: str, updatable: bool) -> None:
    assert StackState(status).is_updatable is updatable
