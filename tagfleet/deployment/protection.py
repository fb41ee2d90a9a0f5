"""Deletion protection of a deployment: of its stack, and of the database with the catalogue.

`tagfleet aws up` sets it once the stack stands, `down` lifts it after it has asked. A database that is protected
before that could not be taken back when a later part of the same change fails, so `up` makes it without protection
(parameter `Protected`), and changes that in a step of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ami.aws import hosts
from ami.aws.cloudformation import Change, Stack, StackState
from core.aws.clients import Clients
from core.errors import TagfleetError

DATABASE = "Catalog"
"""Its logical name in the template."""


def protect_stack(stack: Stack, say: Callable[[str], None]) -> None:
    """Protect the stack from deletion; a warning where that is refused, as everything else is in place."""
    try:
        stack.protect(on=True)
    except TagfleetError as error:
        say(f"warning: stack {stack.name} is not protected from deletion: {error}")


def ends_database(changes: Iterable[Change]) -> bool:
    """Return whether these changes remove the database, or replace it by another one."""
    return any(one.resource == DATABASE and "True" in (one.replacement, str(one.action == "Remove")) for one in changes)


def lift_from_database(clients: Clients, stack: Stack) -> None:
    """Let the database be deleted, where the stack has one. Raises Unavailable."""
    if id := stack.physical_id(DATABASE):
        hosts.lift_protection(clients, id)


def lift(clients: Clients, stack: Stack, state: StackState) -> None:
    """Let the stack be deleted with all it has. Raises Unavailable."""
    if state.parameters.get("Hosts", "none") != "none":
        lift_from_database(clients, stack)
    if state.protected:
        stack.protect(on=False)
