"""Check whether new photos will be tagged, and find what does not answer or has stalled.

1. Store, queue and catalogue must answer.
2. The collector and the controller must give signs of life, if they ever ran and were not stopped. (A deployment may
   have no controller.)
3. Workers that hold images must make progress. So must the last worker of a pool in which images wait.

A worker that is lost while no image waits holds up nothing, and does not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from core.errors import Unavailable
from core.fleet.pulse import HANGS
from core.storage import layout
from web_tier.services.container import Services
from web_tier.services.fleet_view import RoleView

_ADVICE = {
    "collector": "results are not recorded; start `tagfleet collector` again",
    "controller": "no worker is started or replaced; start `tagfleet controller` again",
}


@dataclass(frozen=True, slots=True)
class Stalled:
    """Something that holds up work, for `since_s` seconds. `detail` is a sentence without its subject."""

    part: Literal["worker", "collector", "controller"]
    id: str
    since_s: float
    detail: str

    def __str__(self) -> str:
        name = f"worker {self.id}" if self.part == "worker" else self.part
        return f"{name} {self.detail}"


def failures(services: Services) -> list[str]:
    """Return a sentence for each thing that holds up work; empty if all is well."""
    answers: dict[str, Callable[[], object]] = {
        "store": lambda: list(islice(services.backend.store.list(layout.POOLS), 1)),
        "queue": services.jobs(services.settings.default_pool).depth,
        "catalogue": services.database.check,
    }
    found = []
    for name, ask in answers.items():
        try:
            ask()
        except Unavailable as error:
            found.append(f"{name}: {error}")
    if not found:
        try:
            found = [str(one) for one in stalled(services)]
        except Unavailable as error:
            found = [f"fleet: {error}"]
    return found


def stalled(services: Services) -> list[Stalled]:
    """Return what has stalled while there is work for it. Raises Unavailable."""
    return [*_roles(services), *_lost_workers(services), *_stuck_workers(services)]


def _roles(services: Services) -> Iterator[Stalled]:
    for view in services.fleet.roles():
        if detail := _of_role(view, services.settings.stalled_s):
            yield Stalled(view.beat.role, view.beat.id, round(max(view.silent_s, view.beat.step_s), 1), detail)


def _of_role(view: RoleView, stalled_s: float) -> str:
    beat, silent_s = view.beat, view.silent_s
    if beat.ended:
        if beat.role == "collector" and silent_s >= stalled_s:
            return f"was stopped, and none has run for {_span(silent_s)}: {_ADVICE[beat.role]}"
        return ""
    if silent_s >= stalled_s:
        return f"has given no sign of life for {_span(silent_s)}: {_ADVICE[beat.role]}"
    if beat.limit_s and beat.step_s >= beat.limit_s:
        return f"has been at one step ({beat.step}) for {_span(beat.step_s)}: {_ADVICE[beat.role]}"
    return ""


def _lost_workers(services: Services) -> Iterator[Stalled]:
    """Yield lost workers whose images no other worker has got yet, or can get."""
    ready = Counter(worker.pool for worker in services.fleet.workers() if worker.state.ready)
    hidden_s = services.settings.controller.lost_after_s + services.settings.queue.visibility_timeout_s
    for lost in services.fleet.lost():
        beat, silent = lost.beat, f"has given no sign of life for {_span(lost.silent_s)}"
        if beat.held and lost.silent_s < hidden_s:
            detail = f"{silent} and holds {_images(beat.held)}"
        elif (
            not ready[beat.pool] and beat.pool in services.settings.pools and (waiting := _waiting(services, beat.pool))
        ):
            wait = "waits" if waiting == 1 else "wait"
            detail = f"{silent}; {_images(waiting)} of its pool {beat.pool} {wait} and no worker is ready"
        else:
            continue
        yield Stalled("worker", beat.worker_id, round(lost.silent_s, 1), detail)


def _stuck_workers(services: Services) -> Iterator[Stalled]:
    limit_s = services.settings.stalled_s * HANGS
    for worker in services.fleet.workers():
        if (unmoved_s := services.fleet.unmoved_s(worker.worker_id)) >= limit_s:
            why = f" ({worker.notice})" if worker.notice else ""
            detail = f"has finished none of the {_images(worker.held)} it holds for {_span(unmoved_s)}{why}"
            yield Stalled("worker", worker.worker_id, round(unmoved_s, 1), detail)


def _waiting(services: Services, pool: str) -> int:
    return services.jobs(pool).depth().outstanding


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
