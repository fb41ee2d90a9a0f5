"""Delete a deployment: first its workers, then its stack, and on request its images and results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from ami.aws import buckets
from ami.aws.account import Account
from ami.aws.cloudformation import Stack, StackFailed, StackState
from config.settings import Settings
from core.aws.clients import Clients
from core.errors import Misconfigured, TagfleetError
from core.storage.ports import Instance, InstanceState
from core.wiring import Backend
from tagfleet.deployment.shared_settings import with_names
from tagfleet.deployment.stack_changes import Say, told, unprotect

_POLL_S = 5.0
_GB_MONTH = 0.023
"""$ for a GB and month of S3's standard class in us-east-1, as of 2025."""


def existing_stack(clients: Clients, settings: Settings) -> tuple[Stack, StackState]:
    """Return this deployment's stack and its state. Raises Misconfigured if it does not exist."""
    stack = Stack(clients, settings.aws.deployment)
    state = stack.state()
    if state is None:
        raise Misconfigured(
            f"there is no stack {stack.name} in {clients.region}; "
            "check --deployment and --region, or create one with `tagfleet aws up`"
        )
    return stack, state


def take_down(
    clients: Clients,
    settings: Settings,
    say: Say,
    *,
    drain_s: float,
    delete_data: bool,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """End the workers, giving them `drain_s` seconds to finish what they hold, then delete the stack.

    Messages still in the queues are lost. Raises StackFailed, and errors of the ports.
    """
    stack, state = existing_stack(clients, settings)
    backend: Backend | None = None
    if {"InputBucket", "OutputBucket"} <= set(state.outputs):
        backend = Backend(with_names(settings, clients.region, stack.name, state.outputs, ()))
        _end_workers(backend, say, drain_s, pause)
    kept = _buckets(clients, stack, state)
    _delete(clients, stack, state, say)
    if backend and not delete_data:
        with suppress(Misconfigured):  # the bucket is gone, and the pause with it
            backend.roster.resume()  # a deployment created again over this bucket must not start paused
    for bucket in kept:
        if delete_data:
            say(f"bucket {bucket}: deleted, with {buckets.remove(clients, bucket)} objects")
    say(f"stack {stack.name} is gone")
    for line in _what_remains(clients, [] if delete_data else kept, state):
        say(line)


def _delete(clients: Clients, stack: Stack, state: StackState, say: Say) -> None:
    """Delete the stack. Raises StackFailed, and then leaves the fleet paused: half a stack must not launch workers."""
    try:
        _lift(clients, stack, state, say)
        for event in stack.delete():
            if line := told(event):
                say(line)
    except StackFailed:
        say(
            "the fleet stays paused; fix what failed and run this again, "
            "or keep the deployment with `tagfleet controller resume`"
        )
        raise


def _lift(clients: Clients, stack: Stack, state: StackState, say: Say) -> None:
    """Lift the protection from deletion; warn if that fails, because the deletion itself shows whether it matters."""
    try:
        unprotect(clients, stack, state)
    except TagfleetError as error:
        say(f"warning: {error}")


def _buckets(clients: Clients, stack: Stack, state: StackState) -> list[str]:
    """Return the buckets' names from the outputs. A stack without outputs failed early: derive the template's names."""
    if {"InputBucket", "OutputBucket"} <= set(state.outputs):
        return [state.outputs["InputBucket"], state.outputs["OutputBucket"]]
    return [f"{stack.name}-{which}-{Account(clients).id()}-{clients.region}" for which in ("in", "out")]


def waiting(settings: Settings) -> int:
    """Return the number of messages that would be lost with their queues."""
    backend = Backend(settings)
    return sum(backend.jobs(pool).depth().outstanding for pool in settings.pools) + backend.results.depth().outstanding


def _end_workers(backend: Backend, say: Say, drain_s: float, pause: Callable[[float], None]) -> None:
    """Drain all workers, and end the rest after `drain_s` seconds.

    Pause the fleet first, so that a running controller launches no new workers into a stack that is being deleted.
    """
    roster, fleet = backend.roster, backend.fleet([])
    try:
        roster.pause()
        left = _living(fleet.instances())
        for instance in left:
            roster.request_drain(instance.id)
        if left:
            say(f"{len(left)} workers finish what they hold; those still running after {drain_s:g} s are ended")
        waited = 0.0
        while left and waited < drain_s:
            pause(_POLL_S)
            waited += _POLL_S
            left = _living(fleet.instances())
        fleet.terminate([instance.id for instance in left])
        roster.forget([worker.worker_id for worker in roster.workers()])
    except KeyboardInterrupt:
        roster.resume()
        raise
    except Misconfigured as error:
        say(f"warning: {error}; running workers end by themselves once they have no controller")


def _living(instances: list[Instance]) -> list[Instance]:
    return [one for one in instances if one.state not in (InstanceState.GONE, InstanceState.STOPPING)]


def _what_remains(clients: Clients, kept: list[str], state: StackState) -> Iterator[str]:
    for bucket in kept:
        try:
            there = buckets.contents(clients, bucket)
        except TagfleetError as error:
            yield f"bucket {bucket} remains; {error}"
            continue
        if there is None:
            continue
        size = there.bytes / 1e9
        least = "more than " if there.more else ""
        yield (
            f"bucket {bucket} remains: {least}{there.objects} objects, {size:.2f} GB, "
            f"about ${size * _GB_MONTH:.2f} a month; `tagfleet aws up` finds it again"
        )
    if "CatalogHost" in state.outputs:
        yield "a snapshot of the catalogue's database remains, about $0.095 a GB and month; see RDS, Snapshots"
    for image in dict.fromkeys(state.parameters.get(which, "") for which in ("Image", "HostImage")):
        if image:
            yield f"image {image} and its snapshot remain, about $0.05 a GB and month; deregister it if nobody needs it"
