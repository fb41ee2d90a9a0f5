"""Brings a deployment's stack to what is wished, and tells its machines what they need to know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ami import stack as templates
from ami.aws.account import Account, Image, Network
from ami.aws.buckets import key_of, put_text
from ami.aws.cloudformation import Change, ChangeSet, Event, Stack, StackState
from config import settings as config
from config.settings import BadSetting, Document, Settings
from core.aws.clients import Clients
from core.errors import Misconfigured, NotFound, TagfleetError
from core.storage import layout
from core.wiring import Backend
from tagfleet.deployment import capacity, protection
from tagfleet.deployment.checks import spot_refused, warnings
from tagfleet.deployment.first_messages import drop_test_events
from tagfleet.deployment.shared_settings import as_toml, differences, fit_for_aws, with_names
from tagfleet.deployment.wishes import Wishes, check, parameters, shape, subnets_of

TEMPLATE = "fleet/stack.json"
"""In the output bucket: a template that is too large to be sent with the request."""

Say = Callable[[str], None]
Agree = Callable[[], bool]


@dataclass(frozen=True)
class Standing:
    """What `bring_up` has made, or found as it should be."""

    settings: Settings
    outputs: Mapping[str, str]
    new_image: bool
    """Whether workers that run already were launched from another image."""


def bring_up(clients: Clients, settings: Settings, wishes: Wishes, say: Say, agree: Agree) -> Standing | None:
    """Create or update the stack, then write the settings file. None where a person did not agree.

    Raises Misconfigured where the account or the wishes lack something, StackFailed where CloudFormation fails.
    """
    check(wishes)
    settings = fit_for_aws(settings)
    account, stack = Account(clients), Stack(clients, settings.aws.deployment)
    say(f"account {account.id()}, region {clients.region}, stack {stack.name}")
    state = _ready_to_change(stack, say)
    present = state.parameters if state else {}
    image = account.image(_image(wishes, present))
    network = account.network(wishes.subnets or _subnets(present))
    hosts_from = wishes.host_image or _kept_host_image(present)
    host_image = account.image(hosts_from) if hosts_from else None
    wishes = _with_keys(clients, wishes, present, say)
    others = {name: account.network(subnets) for name, subnets in subnets_of(wishes, present).items()}
    wanted = parameters(wishes, present, image, host_image, network, settings, others)
    offerings = _offerings(settings)
    for warning in _looked_at(account, settings, image, network, offerings, _hosts(wanted, host_image)):
        say(f"warning: {warning}")
    proxies = others.get("EntranceSubnets", network).cidrs
    other_settings = _told_apart(settings, clients, stack.name, state, network.subnets, proxies)
    for line in other_settings:
        say(line)
    created = state is None
    todo = steps(settings, wanted, new=created)
    state = _changed(clients, stack, state, todo, say, lambda plan: not (plan or other_settings) or agree())
    if state is None:
        return None
    protection.protect_stack(stack, say)
    named = with_names(settings, clients.region, stack.name, state.outputs, network.subnets, proxies)
    backend = Backend(named)
    if refused := spot_refused(account, [market for choices in offerings.values() for _, market in choices]):
        say(f"warning: {refused}")
    if created:
        drop_test_events(backend.jobs(named.default_pool))
    backend.store.put(layout.SETTINGS, as_toml(named).encode(), content_type="application/toml")
    return Standing(named, state.outputs, bool(present) and present.get("Image") != image.id)


def _changed(
    clients: Clients,
    stack: Stack,
    state: StackState | None,
    todo: Iterable[Step],
    say: Say,
    agrees: Callable[[ChangeSet | None], bool],
) -> StackState | None:
    """Carry out the steps and return what the stack is then; None where a person did not agree. Raises StackFailed."""
    for step in todo:
        plan = stack.plan(_as_argument(step.template, clients, state), step.parameters)
        if step.asked:
            say(table(plan) if plan else "the stack is as it should be")
        elif plan:
            say("all else stands; the database is protected from deletion now")
        if step.asked and not agrees(plan):
            if plan:
                stack.discard(plan)
            return None
        if plan:
            if protection.ends_database(plan.changes):
                protection.lift_from_database(clients, stack)
            _carry_out(stack, plan, say)
        state = stack.state()
    return state


def table(plan: ChangeSet) -> str:
    """The changes, one a line; those that replace what is there say so."""
    rows = [_row(change) for change in sorted(plan.changes, key=lambda change: (change.action, change.resource))]
    widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
    return "\n".join(["changes:", *(f"  {line}" for line in lines)])


def told(event: Event) -> str:
    """One line of an event; empty for those that only say that something was begun."""
    if event.status.endswith("_IN_PROGRESS") and not event.reason.startswith("Eventual"):
        return ""
    words = event.status.replace("_", " ").lower()
    return (
        f"{event.resource} ({event.type.removeprefix('AWS::')}): {words}{f': {event.reason}' if event.failed else ''}"
    )


def replace_workers(settings: Settings) -> int:
    """Wish that each worker drain: the controller launches others, of the present image, as the work needs them."""
    roster = Backend(settings).roster
    workers = roster.workers()
    for worker in workers:
        roster.request_drain(worker.worker_id)
    return len(workers)


def _ready_to_change(stack: Stack, say: Say) -> StackState | None:
    """None where the stack is yet to be made. Clears away what a creation that failed has left."""
    state = stack.state()
    if state is None or state.status == "REVIEW_IN_PROGRESS":
        return None
    if state.busy:
        raise Misconfigured(
            f"stack {stack.name} is {state.status}: somebody is changing it; try again when that is over"
        )
    if state.is_updatable:
        return state
    say(f"the stack of an attempt before is cleared away ({state.status})")
    if state.protected:
        stack.protect(on=False)
    for event in stack.delete():
        if line := told(event):
            say(line)
    return None


def _told_apart(
    settings: Settings,
    clients: Clients,
    deployment: str,
    state: StackState | None,
    subnets: Sequence[str],
    proxies: Sequence[str],
) -> list[str]:
    """What `settings` says otherwise than the file that the deployment's machines read; nothing of a new one."""
    if state is None or "OutputBucket" not in state.outputs:
        return []
    named = with_names(settings, clients.region, deployment, state.outputs, subnets, proxies)
    try:
        there = Backend(named).store.get(layout.SETTINGS).data.decode()
        return [
            f"setting {line}" for line in differences(config.load({}, file=Document(layout.SETTINGS, there)), named)
        ]
    except NotFound:
        return []
    except BadSetting as error:
        return [f"the settings that are there do not fit this version and are written anew: {error}"]


def _carry_out(stack: Stack, plan: ChangeSet, say: Say) -> None:
    for event in stack.execute(plan):
        if line := told(event):
            say(line)


def _image(wishes: Wishes, present: Mapping[str, str]) -> str:
    image = wishes.image or present.get("Image")
    if not image:
        raise Misconfigured("a new deployment needs --image, an image for its workers; `tagfleet ami bake` makes one")
    return image


def _kept_host_image(present: Mapping[str, str]) -> str:
    """Where there are no hosts yet, the template's parameter only stands in."""
    return present.get("HostImage", "") if present.get("Hosts", "none") != "none" else ""


def _subnets(present: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(subnet for subnet in present.get("Subnets", "").split(",") if subnet)


def _with_keys(clients: Clients, wishes: Wishes, present: Mapping[str, str], say: Say) -> Wishes:
    """Return these wishes with the keys of KMS that the buckets of others are encrypted with by default."""
    sources = wishes.sources or tuple(present.get("Sources", "").split(","))
    kept = () if wishes.sources else tuple(present.get("SourceKeys", "").split(","))
    keys = dict.fromkeys(wishes.source_keys or kept)
    for bucket in filter(None, sources):
        try:
            keys[key_of(clients, bucket)] = None
        except NotFound:
            say(f"warning: there is no bucket {bucket}, which --source names")
        except TagfleetError as error:
            say(f"warning: {error}. If a key of KMS encrypts it, give --source-key")
    return replace(wishes, source_keys=tuple(filter(None, keys)) or ("",))


def _offerings(settings: Settings) -> capacity.Offerings:
    found = {}
    for name, pool in settings.pools.items():
        choices = (choice.partition(":") for choice in (pool.offerings or settings.aws.offerings).split())
        found[name] = [(type, market) for type, _, market in choices]
    return found


def _hosts(wanted: Mapping[str, str], image: Image | None) -> tuple[str, Image] | None:
    """Return the type and the image of hosts; None where there are none."""
    if image is None or wanted.get("Hosts", "none") == "none":
        return None
    return wanted["HostType"], image


def _looked_at(
    account: Account,
    settings: Settings,
    image: Image,
    network: Network,
    offerings: capacity.Offerings,
    host: tuple[str, Image] | None,
) -> Iterator[str]:
    """Yield what may keep workers from starting. Raises Misconfigured for what never can."""
    types = list(dict.fromkeys(type for choices in offerings.values() for type, _ in choices))
    yield from warnings(image, network, types)
    try:
        kinds = account.types([*types, *([host[0]] if host else [])])
    except TagfleetError as error:
        yield f"instance types were not looked at: {error}"
        return
    capacity.check_architectures(kinds, image, offerings, host)
    yield from capacity.warnings(account, kinds, network, offerings, settings.controller.max_workers)


@dataclass(frozen=True)
class Step:
    """One change of the stack. `asked` is whether a person has to agree: what only completes another one is not."""

    template: str
    parameters: Mapping[str, str]
    asked: bool = True


def steps(settings: Settings, wanted: Mapping[str, str], *, new: bool) -> Iterator[Step]:
    """Yield the changes that lead to `wanted`: one, but for two cases.

    A new stack whose template is too large to be sent begins with the first pool alone: the template lies in the output
    bucket then, which that change makes. A new database is protected from deletion after all else has succeeded.
    """
    whole = shape(settings, wanted)
    text = templates.body(templates.render(whole))
    if new and not templates.fits_inline(text):
        yield Step(templates.body(templates.render(whole.with_pools(whole.pools[:1]))), wanted)
    yield Step(text, wanted)
    if wanted["Protected"] == "no":
        yield Step(text, {**wanted, "Protected": "yes"}, asked=False)


def _as_argument(text: str, clients: Clients, state: StackState | None) -> dict[str, str]:
    if templates.fits_inline(text):
        return {"TemplateBody": text}
    if state is None or "OutputBucket" not in state.outputs:
        raise TagfleetError("the template of even one pool is too large for CloudFormation; remove source buckets")
    bucket = state.outputs["OutputBucket"]
    return {"TemplateURL": put_text(clients, bucket, TEMPLATE, text)}


def _row(change: Change) -> tuple[str, str, str, str]:
    replaces = {"True": "replaced", "Conditional": "replaced, perhaps"}.get(change.replacement, "")
    return change.action.lower(), change.resource, change.type.removeprefix("AWS::"), replaces
