"""Create or update a deployment: check, change the stack, write the settings file that its machines read.

`bring_up` is the whole sequence and reads from top to bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ami.aws.account import Account, Image, Network
from ami.aws.buckets import key_of
from ami.aws.cloudformation import Stack, StackState
from config import settings as config
from config.settings import BadSetting, Document, Settings
from core.aws.clients import Clients
from core.domain.notifications import parse_message
from core.errors import BadMessage, Misconfigured, NotFound, TagfleetError
from core.storage import layout
from core.storage.ports import Queue
from core.wiring import Backend
from tagfleet.deployment.preflight import (
    Offerings,
    capacity_warnings,
    check_architectures,
    check_gpus,
    image_warnings,
    spot_refused,
)
from tagfleet.deployment.shared_settings import as_toml, differences, fit_for_aws, with_names
from tagfleet.deployment.stack_changes import Say, carry_out, protect_stack, steps, told
from tagfleet.deployment.stack_options import StackOptions, check, other_subnets, parameters

Agree = Callable[[], bool]
"""Asks a person whether to make the changes."""
_FIRST_MESSAGES_S = 1.0
"""Seconds to wait for S3's test event. It was sent minutes ago, but any wait makes SQS ask all of its servers."""


@dataclass(frozen=True)
class Deployed:
    """A deployment after `bring_up`."""

    settings: Settings
    outputs: Mapping[str, str]
    new_image: bool
    """Whether running workers were launched from another image."""


def bring_up(clients: Clients, settings: Settings, options: StackOptions, say: Say, agree: Agree) -> Deployed | None:
    """Create or update the stack, then write the settings file. Return None if the person did not agree.

    Raises Misconfigured if the account or the options lack something, StackFailed if CloudFormation fails.
    """
    check(options)
    settings = fit_for_aws(settings)
    account, stack = Account(clients), Stack(clients, settings.aws.deployment)
    say(f"account {account.id()}, region {clients.region}, stack {stack.name}")
    state = _stack_to_change(stack, say)
    present = state.parameters if state else {}
    image = account.image(_image(options, present))
    network = account.network(options.subnets or _subnets(present))
    hosts_from = options.host_image or _kept_host_image(present)
    host_image = account.image(hosts_from) if hosts_from else None
    options = _with_keys(clients, options, present, say)
    others = {name: account.network(subnets) for name, subnets in other_subnets(options, present).items()}
    wanted = parameters(options, present, image, host_image, network, settings, others)
    offerings = _offerings(settings)
    for warning in _preflight_warnings(account, settings, image, network, offerings, _hosts(wanted, host_image)):
        say(f"warning: {warning}")
    proxies = others.get("EntranceSubnets", network).cidrs
    changed_settings = _changed_settings(settings, clients, stack.name, state, network.subnets, proxies)
    for line in changed_settings:
        say(line)
    created = state is None
    todo = steps(settings, wanted, new=created)
    state = carry_out(
        clients, stack, state, todo, say, lambda change_set: not (change_set or changed_settings) or agree()
    )
    if state is None:
        return None
    protect_stack(stack, say)
    named = with_names(settings, clients.region, stack.name, state.outputs, network.subnets, proxies)
    backend = Backend(named)
    if refused := spot_refused(account, [market for choices in offerings.values() for _, market in choices]):
        say(f"warning: {refused}")
    if created:
        drop_test_events(backend.jobs(named.default_pool))
    backend.store.put(layout.SETTINGS, as_toml(named).encode(), content_type="application/toml")
    return Deployed(named, state.outputs, bool(present) and present.get("Image") != image.id)


def replace_workers(settings: Settings) -> int:
    """Ask every worker to drain, and return their number. The controller launches new ones, of the new image."""
    roster = Backend(settings).roster
    workers = roster.workers()
    for worker in workers:
        roster.request_drain(worker.worker_id)
    return len(workers)


def _stack_to_change(stack: Stack, say: Say) -> StackState | None:
    """Return the stack's state, or None if the stack does not exist yet. Delete the remains of a failed creation."""
    state = stack.state()
    if state is None or state.status == "REVIEW_IN_PROGRESS":
        return None
    if state.busy:
        raise Misconfigured(
            f"stack {stack.name} is {state.status}: another change is in progress; try again when it has ended"
        )
    if state.is_updatable:
        return state
    say(f"deleting what a failed attempt left of the stack ({state.status})")
    if state.protected:
        stack.protect(on=False)
    for event in stack.delete():
        if line := told(event):
            say(line)
    return None


def _changed_settings(
    settings: Settings,
    clients: Clients,
    deployment: str,
    state: StackState | None,
    subnets: Sequence[str],
    proxies: Sequence[str],
) -> list[str]:
    """Return a line for each setting that differs from the settings file of the existing deployment."""
    if state is None or "OutputBucket" not in state.outputs:
        return []
    named = with_names(settings, clients.region, deployment, state.outputs, subnets, proxies)
    try:
        there = Backend(named).store.get(layout.SETTINGS).data.decode()
        before = config.load({}, file=Document(layout.SETTINGS, there))
        return [f"setting {line}" for line in differences(before, named)]
    except NotFound:
        return []
    except BadSetting as error:
        return [f"the deployment's settings do not fit this version and are replaced: {error}"]


def _image(options: StackOptions, present: Mapping[str, str]) -> str:
    image = options.image or present.get("Image")
    if not image:
        raise Misconfigured("a new deployment needs --image, an image for its workers; `tagfleet ami bake` makes one")
    return image


def _kept_host_image(present: Mapping[str, str]) -> str:
    """Return the hosts' current image; without hosts an empty string, because the parameter is a placeholder then."""
    return present.get("HostImage", "") if present.get("Hosts", "none") != "none" else ""


def _subnets(present: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(subnet for subnet in present.get("Subnets", "").split(",") if subnet)


def _with_keys(clients: Clients, options: StackOptions, present: Mapping[str, str], say: Say) -> StackOptions:
    """Add the KMS keys with which the source buckets encrypt by default to the options."""
    sources = options.sources or tuple(present.get("Sources", "").split(","))
    kept = () if options.sources else tuple(present.get("SourceKeys", "").split(","))
    keys = dict.fromkeys(options.source_keys or kept)
    for bucket in filter(None, sources):
        try:
            keys[key_of(clients, bucket)] = None
        except NotFound:
            say(f"warning: --source names bucket {bucket}, which does not exist")
        except TagfleetError as error:
            say(f"warning: {error}. If a KMS key encrypts the bucket, give --source-key")
    return replace(options, source_keys=tuple(filter(None, keys)) or ("",))


def _offerings(settings: Settings) -> Offerings:
    found = {}
    for name, pool in settings.pools.items():
        choices = (choice.partition(":") for choice in (pool.offerings or settings.aws.offerings).split())
        found[name] = [(type, market) for type, _, market in choices]
    return found


def _hosts(wanted: Mapping[str, str], image: Image | None) -> tuple[str, Image] | None:
    """Return the instance type and the image of hosts, or None if there are none."""
    if image is None or wanted.get("Hosts", "none") == "none":
        return None
    return wanted["HostType"], image


def _preflight_warnings(
    account: Account,
    settings: Settings,
    image: Image,
    network: Network,
    offerings: Offerings,
    host: tuple[str, Image] | None,
) -> Iterator[str]:
    """Yield a warning for each problem that may keep workers from starting. Raises Misconfigured if one does."""
    types = list(dict.fromkeys(type for choices in offerings.values() for type, _ in choices))
    check_gpus(image, types)
    yield from image_warnings(image, network, types)
    try:
        kinds = account.types([*types, *([host[0]] if host else [])])
    except TagfleetError as error:
        yield f"instance types were not checked: {error}"
        return
    check_architectures(kinds, image, offerings, host)
    yield from capacity_warnings(account, kinds, network, offerings, settings.controller.max_workers)


def drop_test_events(queue: Queue) -> None:
    """Delete S3's test events from a new queue, so that no worker starts for them. Raises Unavailable.

    S3 sends one when a bucket is configured to notify the queue. All other messages become visible again at once.
    """
    received = queue.receive(queue.per_request, _FIRST_MESSAGES_S)
    empty = [delivery for delivery in received if not _asks_for_work(delivery.body)]
    queue.delete(empty)
    queue.set_visibility([delivery for delivery in received if delivery not in empty], 0)


def _asks_for_work(body: str) -> bool:
    """Return whether the message contains work for a worker. Unreadable messages count: the worker reports them."""
    try:
        return bool(parse_message(body, ""))
    except BadMessage:
        return True
