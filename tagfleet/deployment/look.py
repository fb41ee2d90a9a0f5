"""How a deployment's stack is, in lines for a person."""

from __future__ import annotations

from collections.abc import Iterator

from ami.aws.cloudformation import Stack, StackState
from core.aws.clients import Clients
from core.errors import TagfleetError
from core.storage.ports import InstanceState
from core.wiring import Backend


def at_stack(clients: Clients, stack: Stack, state: StackState, *, drift: bool) -> Iterator[str]:
    yield f"stack {stack.name} in {clients.region}: {state.status}{f', {state.reason}' if state.reason else ''}"
    if entrance := state.outputs.get("Domain"):
        yield f"https://{entrance}"
    if not drift:
        return
    try:
        changed = stack.drift()
    except TagfleetError as error:
        yield f"drift: {error}"
        return
    if changed:
        yield f"drift: {', '.join(changed)} changed by hand; see the stack's drift in CloudFormation"
    else:
        yield "drift: none, all is as the template has it"


def at_spend(backend: Backend) -> Iterator[str]:
    paid = [one for one in backend.fleet([]).instances() if one.state is not InstanceState.GONE]
    yield ""
    budget = backend.settings.controller.budget_per_hour
    spend = sum(one.price for one in paid)
    of = f" of at most ${budget:.2f}" if budget else ""
    yield f"{len(paid)} {'instance' if len(paid) == 1 else 'instances'}, ${spend:.2f} an hour{of}"
