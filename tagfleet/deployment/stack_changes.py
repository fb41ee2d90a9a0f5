"""Plan, show and carry out changes of a deployment's stack, and protect it from deletion.

`tagfleet aws up` protects the stack and the catalogue's database once everything is in place; `tagfleet aws down`
lifts the protection after it has asked. CloudFormation could not roll back a protected database when a later part of
the same change fails. So `up` creates the database unprotected (parameter `Protected`) and protects it in a second
step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from ami import stack as templates
from ami.aws.buckets import put_text
from ami.aws.cloudformation import Change, ChangeSet, Event, Stack, StackFailed, StackState
from ami.aws.hosts import protect_database
from config.settings import Settings
from core.aws.clients import Clients
from core.errors import TagfleetError
from tagfleet.deployment.stack_options import template_shape
from tagfleet.text_tables import Column, table_lines, terminal_width

Say = Callable[[str], None]
"""Shows a line of progress to a person."""

TEMPLATE = "fleet/stack.json"
"""Key in the output bucket for a template that is too large to be sent with the request."""

DATABASE = "Catalog"
"""The database's logical name in the template."""


@dataclass(frozen=True)
class Step:
    """One change of the stack. If `asked`, a person has to agree; a step that only completes another does not ask."""

    template: str
    parameters: Mapping[str, str]
    asked: bool = True


def steps(settings: Settings, wanted: Mapping[str, str], *, new: bool) -> Iterator[Step]:
    """Yield the changes that lead to `wanted`: usually one.

    1. If a new stack's template is too large to be sent, the first step creates only the first pool and the buckets.
       CloudFormation then reads the whole template from the output bucket.
    2. If the database is new, a last step protects it from deletion.
    """
    whole = template_shape(settings, wanted)
    text = templates.body(templates.render(whole))
    if new and not templates.fits_inline(text):
        yield Step(templates.body(templates.render(whole.with_pools(whole.pools[:1]))), wanted)
    yield Step(text, wanted)
    if wanted["Protected"] == "no":
        yield Step(text, {**wanted, "Protected": "yes"}, asked=False)


def carry_out(
    clients: Clients,
    stack: Stack,
    state: StackState | None,
    todo: Iterable[Step],
    say: Say,
    agrees: Callable[[ChangeSet | None], bool],
) -> StackState | None:
    """Carry out the steps and return the stack's new state, or None if the person did not agree. Raises StackFailed."""
    for step in todo:
        change_set = stack.plan(_as_argument(step.template, clients, state), step.parameters)
        if step.asked:
            say(table(change_set) if change_set else "the stack is up to date")
        elif change_set:
            say("everything else is in place; now the database gets its protection from deletion")
        if step.asked and not agrees(change_set):
            if change_set:
                stack.discard(change_set)
            return None
        if change_set:
            if ends_database(change_set.changes):
                _execute_unprotected(clients, stack, change_set, say)
            else:
                _execute(stack, change_set, say)
        state = stack.state()
    return state


def _execute(stack: Stack, change_set: ChangeSet, say: Say) -> None:
    for event in stack.execute(change_set):
        if line := told(event):
            say(line)


def _execute_unprotected(clients: Clients, stack: Stack, change_set: ChangeSet, say: Say) -> None:
    """Lift the database's protection, carry out the changes, and protect the database again if it is still there.

    It is still there after a conditional replacement that did not happen, and after a change that was rolled back.
    An update that may still run keeps the protection off, which could stop it.
    """
    before = unprotect_database(clients, stack)
    try:
        _execute(stack, change_set, say)
    except StackFailed:
        _protect_again(clients, stack, before, say)
        raise
    _protect_again(clients, stack, before, say)


def _protect_again(clients: Clients, stack: Stack, before: str, say: Say) -> None:
    """Protect the database if it is the one from before; the template protects a new one. Warn if AWS refuses."""
    try:
        if before and stack.physical_id(DATABASE) == before:
            protect_database(clients, before, on=True)
    except TagfleetError as error:
        say(f"warning: database {before} is not protected from deletion: {error}")


def _as_argument(text: str, clients: Clients, state: StackState | None) -> dict[str, str]:
    """Return the template as CloudFormation's argument: inline, or as the address of a copy in the output bucket."""
    if templates.fits_inline(text):
        return {"TemplateBody": text}
    if state is None or "OutputBucket" not in state.outputs:
        raise TagfleetError("the template of even one pool is too large for CloudFormation; remove source buckets")
    bucket = state.outputs["OutputBucket"]
    return {"TemplateURL": put_text(clients, bucket, TEMPLATE, text)}


def table(change_set: ChangeSet) -> str:
    """Return the changes as text, one per line. Mark each change that replaces a resource."""
    rows = [_row(change) for change in sorted(change_set.changes, key=lambda change: (change.action, change.resource))]
    return "\n".join(["changes:", *table_lines([Column()] * 4, rows, width=terminal_width(), indent=2)])


def _row(change: Change) -> tuple[str, str, str, str]:
    replaces = {"True": "replaced", "Conditional": "replaced, perhaps"}.get(change.replacement, "")
    return change.action.lower(), change.resource, change.type.removeprefix("AWS::"), replaces


def told(event: Event) -> str:
    """Return an event as one line; an empty string if it only reports that something began."""
    if event.status.endswith("_IN_PROGRESS") and not event.reason.startswith("Eventual"):
        return ""
    words = event.status.replace("_", " ").lower()
    return (
        f"{event.resource} ({event.type.removeprefix('AWS::')}): {words}{f': {event.reason}' if event.failed else ''}"
    )


def protect_stack(stack: Stack, say: Callable[[str], None]) -> None:
    """Protect the stack from deletion. Warn if AWS refuses, because everything else is in place by then."""
    try:
        stack.protect(on=True)
    except TagfleetError as error:
        say(f"warning: stack {stack.name} is not protected from deletion: {error}")


def ends_database(changes: Iterable[Change]) -> bool:
    """Return whether these changes delete the database, replace it, or may replace it.

    CloudFormation says "Conditional" while a value that needs a replacement is known only during the update, such as
    the name of a subnet group that changes too.
    """
    return any(
        one.resource == DATABASE and (one.action == "Remove" or one.replacement in ("True", "Conditional"))
        for one in changes
    )


def unprotect_database(clients: Clients, stack: Stack) -> str:
    """Allow the database to be deleted; return its id, or "" if the stack has none. Raises Unavailable."""
    if id := stack.physical_id(DATABASE):
        protect_database(clients, id, on=False)
    return id


def unprotect(clients: Clients, stack: Stack, state: StackState) -> None:
    """Allow the stack to be deleted with everything in it. Raises Unavailable."""
    if state.parameters.get("Hosts", "none") != "none":
        unprotect_database(clients, stack)
    if state.protected:
        stack.protect(on=False)
