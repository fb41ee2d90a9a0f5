"""One CloudFormation stack: its state, the changes that a template would make, and making them."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from core.aws.clients import Clients
from core.aws.errors import code_of, translate_errors
from core.errors import TagfleetError, Unavailable

_POLL_S = 3.0
_DRIFT_POLLS = 60
"""AWS takes a minute or so to check every resource."""
_NOTHING = re.compile("didn't contain changes|No updates are to be performed|contain no changes", re.IGNORECASE)
_AFTERMATH = "Resource creation cancelled"
"""The reason of resources that failed only because another one had."""


class StackFailed(TagfleetError):
    """A change of the stack failed. The text names the first resource that did, and why."""


@dataclass(frozen=True, slots=True)
class StackState:
    status: str
    reason: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    protected: bool = False
    """Whether CloudFormation refuses to delete it."""

    @property
    def busy(self) -> bool:
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"

    @property
    def is_updatable(self) -> bool:
        """Whether an update can start from it."""
        return self.status not in (
            "REVIEW_IN_PROGRESS",
            "ROLLBACK_COMPLETE",
            "ROLLBACK_FAILED",
            "DELETE_FAILED",
            "DELETE_COMPLETE",
        )


@dataclass(frozen=True, slots=True)
class Change:
    action: str
    """Add, Modify, Remove, Import."""
    resource: str
    type: str
    replacement: str
    """True, False or Conditional; empty if it does not apply."""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    id: str
    changes: tuple[Change, ...]
    creates: bool
    """Whether it creates the stack."""


@dataclass(frozen=True, slots=True)
class Event:
    id: str
    at: float
    resource: str
    type: str
    status: str
    reason: str

    @property
    def failed(self) -> bool:
        return self.status.endswith("_FAILED")


class Stack:
    def __init__(self, clients: Clients, name: str, *, pause: Callable[[float], None] = time.sleep) -> None:
        self.name = name
        self._clients = clients
        self._pause = pause

    def state(self) -> StackState | None:
        """Return the stack's state; None if there is no such stack, or nothing is left of it."""
        with translate_errors(f"look at stack {self.name}", "cloudformation"):
            try:
                found = self._clients.cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]
            except ClientError as error:
                if code_of(error) == "ValidationError" and "does not exist" in str(error):
                    return None
                raise
        if found["StackStatus"] == "DELETE_COMPLETE":
            return None
        return StackState(
            found["StackStatus"],
            found.get("StackStatusReason", ""),
            {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])},
            {given["ParameterKey"]: given.get("ParameterValue", "") for given in found.get("Parameters", [])},
            bool(found.get("EnableTerminationProtection")),
        )

    def plan(self, template: Mapping[str, str], parameters: Mapping[str, str]) -> ChangeSet | None:
        """Return the changes that a template would make; None if none. `template` is TemplateBody or TemplateURL.

        Buckets of a deployment that was taken down are imported by their names. Raises StackFailed if CloudFormation
        cannot make the plan.
        """
        state = self.state()
        creates = state is None or state.status == "REVIEW_IN_PROGRESS"
        with translate_errors(f"plan the changes of stack {self.name}", "cloudformation"):
            made = self._clients.cloudformation.create_change_set(
                StackName=self.name,
                ChangeSetName=f"tagfleet-{uuid.uuid4().hex[:12]}",
                ChangeSetType="CREATE" if creates else "UPDATE",
                Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
                Capabilities=["CAPABILITY_IAM"],
                Tags=[{"Key": "tagfleet:deployment", "Value": self.name}],
                ImportExistingResources=True,
                **template,  # type: ignore[arg-type]  # one of the two
            )
            answer = self._made(made["Id"])
        if answer["Status"] == "FAILED":
            reason = answer.get("StatusReason", "")
            self.discard(ChangeSet(made["Id"], (), creates))
            if _NOTHING.search(reason):
                return None
            raise StackFailed(f"CloudFormation cannot plan stack {self.name}: {reason}")
        changes = tuple(_change(change["ResourceChange"]) for change in self._changes(made["Id"]))
        return ChangeSet(made["Id"], changes, creates)

    def execute(self, plan: ChangeSet) -> Iterator[Event]:
        """Make the changes, and yield events as they happen. Raises StackFailed if the stack does not end well."""
        seen = {event.id for event in self._events()}
        with translate_errors(f"change stack {self.name}", "cloudformation"):
            self._clients.cloudformation.execute_change_set(ChangeSetName=plan.id, StackName=self.name)
        yield from self._follow(self.name, seen, ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"))

    def discard(self, plan: ChangeSet) -> None:
        """Delete the plan, and the empty stack that a plan to create one leaves."""
        with translate_errors(f"forget a plan of stack {self.name}", "cloudformation"):
            self._clients.cloudformation.delete_change_set(ChangeSetName=plan.id, StackName=self.name)
            if plan.creates:
                self._clients.cloudformation.delete_stack(StackName=self.name)

    def delete(self) -> Iterator[Event]:
        """Delete the stack, except what is to be retained, and yield events. Raises StackFailed."""
        seen = {event.id for event in self._events()}
        with translate_errors(f"delete stack {self.name}", "cloudformation"):
            found = self._clients.cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]["StackId"]
            self._clients.cloudformation.delete_stack(StackName=self.name)
        yield from self._follow(found, seen, ("DELETE_COMPLETE",))

    def protect(self, *, on: bool) -> None:
        """Set or lift CloudFormation's protection against deletion. Raises Unavailable."""
        with translate_errors(
            f"{'set' if on else 'lift'} the termination protection of stack {self.name}", "cloudformation"
        ):
            self._clients.cloudformation.update_termination_protection(
                StackName=self.name, EnableTerminationProtection=on
            )

    def physical_id(self, resource: str) -> str:
        """Return a resource's physical id by its logical one; "" if the stack has no such resource."""
        with translate_errors(f"look at {resource} of stack {self.name}", "cloudformation"):
            try:
                found = self._clients.cloudformation.describe_stack_resource(
                    StackName=self.name, LogicalResourceId=resource
                )
            except ClientError as error:
                if code_of(error) == "ValidationError":
                    return ""
                raise
        return found["StackResourceDetail"].get("PhysicalResourceId", "")

    def drift(self) -> list[str]:
        """Return the resources that differ from the template. Takes about a minute, three at most.

        Raises Unavailable if CloudFormation could not check all of them.
        """
        with translate_errors(f"look for drift of stack {self.name}", "cloudformation"):
            cloudformation = self._clients.cloudformation
            run = cloudformation.detect_stack_drift(StackName=self.name)["StackDriftDetectionId"]
            for _ in range(_DRIFT_POLLS):
                answer = cloudformation.describe_stack_drift_detection_status(StackDriftDetectionId=run)
                if answer["DetectionStatus"] != "DETECTION_IN_PROGRESS":
                    break
                self._pause(_POLL_S)
            if answer["DetectionStatus"] != "DETECTION_COMPLETE":
                why = answer.get("DetectionStatusReason", answer["DetectionStatus"])
                raise Unavailable(f"CloudFormation could not look at every resource of stack {self.name}: {why}")
            found = cloudformation.describe_stack_resource_drifts(
                StackName=self.name, StackResourceDriftStatusFilters=["MODIFIED", "DELETED"]
            )
        return [drift["LogicalResourceId"] for drift in found["StackResourceDrifts"]]

    # --- the rest -----------------------------------------------------------------------------

    def _made(self, id: str) -> Mapping[str, Any]:
        while True:
            answer = self._clients.cloudformation.describe_change_set(ChangeSetName=id, StackName=self.name)
            if answer["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
                return answer
            self._pause(_POLL_S / 3)

    def _changes(self, id: str) -> Iterator[Mapping[str, Any]]:
        with translate_errors(f"read the plan of stack {self.name}", "cloudformation"):
            pages = self._clients.cloudformation.get_paginator("describe_change_set")
            for page in pages.paginate(ChangeSetName=id, StackName=self.name):
                yield from page.get("Changes", [])

    def _follow(self, name: str, seen: set[str], good: Sequence[str]) -> Iterator[Event]:
        first_failure: Event | None = None
        while True:
            state = self._state_of(name)
            for event in sorted(self._events(name), key=lambda event: event.at):
                if event.id in seen:
                    continue
                seen.add(event.id)
                if event.failed and first_failure is None and _AFTERMATH not in event.reason:
                    first_failure = event
                yield event
            if not state.busy:
                break
            self._pause(_POLL_S)
        if state.status not in good:
            raise StackFailed(_failure(self.name, state, first_failure))

    def _state_of(self, name: str) -> StackState:
        """Return the state by name or id; by its id, a stack can be found after its end."""
        with translate_errors(f"look at stack {self.name}", "cloudformation"):
            try:
                found = self._clients.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
            except ClientError as error:
                if "does not exist" in str(error):
                    return StackState("DELETE_COMPLETE")
                raise
        return StackState(found["StackStatus"], found.get("StackStatusReason", ""))

    def _events(self, name: str = "") -> list[Event]:
        """Return events, newest first, at least those of the last change."""
        with translate_errors(f"read the events of stack {self.name}", "cloudformation"):
            pages = self._clients.cloudformation.get_paginator("describe_stack_events")
            try:
                return [
                    _event(found)
                    for page in pages.paginate(StackName=name or self.name)
                    for found in page["StackEvents"]
                ]
            except ClientError as error:
                if "does not exist" in str(error):
                    return []
                raise


def _change(found: Mapping[str, Any]) -> Change:
    return Change(
        found["Action"], found["LogicalResourceId"], found["ResourceType"], str(found.get("Replacement", "") or "")
    )


def _event(found: Mapping[str, Any]) -> Event:
    return Event(
        found["EventId"],
        found["Timestamp"].timestamp(),
        found.get("LogicalResourceId", ""),
        found.get("ResourceType", ""),
        found.get("ResourceStatus", ""),
        found.get("ResourceStatusReason", "") or "",
    )


def _failure(name: str, state: StackState, first: Event | None) -> str:
    said = f"stack {name} ended as {state.status}"
    if first is None:
        return f"{said}: {state.reason}" if state.reason else said
    return f"{said}: {first.resource} ({first.type}) failed first: {first.reason}"
