"""Takes a deployment down: first its workers, then its stack; images and results stay unless they are unwanted."""

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
from tagfleet.deployment import protection
from tagfleet.deployment.shared_settings import with_names
from tagfleet.deployment.up import Say, told

_POLL_S = 5.0
_GB_MONTH = 0.023
"""$ for S3's standard class in us-east-1, as of 2025."""


def found(clients: Clients, settings: Settings) -> tuple[Stack, StackState]:
    """The stack of this deployment. Raises Misconfigured where there is none."""
    stack = Stack(clients, settings.aws.deployment)
    state = stack.state()
    if state is None:
        raise Misconfigured(
            f"there is no stack {stack.name} in {clients.region}; "
            "see --deployment and --region, or make one with `tagfleet aws up`"
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
    """End the workers, giving them `drain_s` for what they hold, then the stack.

    Raises StackFailed, and what the ports raise. Work that waits in the queues is lost with them.
    """
    stack, state = found(clients, settings)
    backend: Backend | None = None
    if {"InputBucket", "OutputBucket"} <= set(state.outputs):
        backend = Backend(with_names(settings, clients.region, stack.name, state.outputs, ()))
        _end_workers(backend, say, drain_s, pause)
    kept = _buckets(clients, stack, state)
    _delete(clients, stack, state, say)
    if backend and not delete_data:
        with suppress(Misconfigured):  # where the bucket is gone, the pause is
            backend.roster.resume()  # where it stays, a deployment brought up again is not to find itself paused
    for bucket in kept:
        if delete_data:
            say(f"bucket {bucket}: deleted, with {buckets.remove(clients, bucket)} objects")
    say(f"stack {stack.name} is gone")
    for line in _what_remains(clients, [] if delete_data else kept, state):
        say(line)


def _delete(clients: Clients, stack: Stack, state: StackState, say: Say) -> None:
    """Raises StackFailed; the fleet is paused then, as a half of a stack is nothing to launch workers from."""
    try:
        _lift(clients, stack, state, say)
        for event in stack.delete():
            if line := told(event):
                say(line)
    except StackFailed:
        say("the fleet stays paused; mend what failed and run this again, or go on with `tagfleet controller resume`")
        raise


def _lift(clients: Clients, stack: Stack, state: StackState, say: Say) -> None:
    """Lift the protection from deletion. What cannot be lifted is told; whether it matters the deletion shows."""
    try:
        protection.lift(clients, stack, state)
    except TagfleetError as error:
        say(f"warning: {error}")


def _buckets(clients: Clients, stack: Stack, state: StackState) -> list[str]:
    """Those of the outputs; where a stack failed before it had any, by the names that the template gives them."""
    if {"InputBucket", "OutputBucket"} <= set(state.outputs):
        return [state.outputs["InputBucket"], state.outputs["OutputBucket"]]
    return [f"{stack.name}-{which}-{Account(clients).id()}-{clients.region}" for which in ("in", "out")]


def waiting(settings: Settings) -> int:
    """Images that would be lost with their queues."""
    backend = Backend(settings)
    return sum(backend.jobs(pool).depth().outstanding for pool in settings.pools) + backend.results.depth().outstanding


def _end_workers(backend: Backend, say: Say, drain_s: float, pause: Callable[[float], None]) -> None:
    """Those that run finish what they hold, or are ended after `drain_s`.

    Nothing is launched from now on, by a controller that still runs: the stack could not go from under new workers.
    """
    roster, fleet = backend.roster, backend.fleet([])
    try:
        roster.pause()
        left = _living(fleet.instances())
        for instance in left:
            roster.request_drain(instance.id)
        if left:
            say(f"{len(left)} workers are asked to finish what they hold; those left in {drain_s:g} s are ended")
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
        say(f"warning: {error}; workers that run end by themselves when nobody looks after them")


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
