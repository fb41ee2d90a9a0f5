"""`tagfleet controller`"""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TextIO

import click
from click.core import ParameterSource

from config.settings import Settings
from core import telemetry
from core.fleet import orders
from core.fleet.decisions import DecisionRecord
from core.util import parent_watch
from core.util.interpreter import module_command
from core.util.private import keep_private
from core.wiring import Backend
from tagfleet.cli.common import existing, with_settings

_NEGATIVE = {"ignore_unknown_options": True}
"""Refuse -1 as a number, not as an unknown option."""


@click.group(
    "controller", short_help="Start and stop workers as the queues fill and empty.", invoke_without_command=True
)
@click.option("--dry-run", is_flag=True, help="change nothing; print each new decision")
@click.option("--record", type=click.File("a", lazy=False), help="append every tick to this file, for `replay`")
@with_settings("controller.max_workers")
@click.pass_context
def command(context: click.Context, settings: Settings, dry_run: bool, record: TextIO | None) -> None:
    """Start and stop workers as the queues fill and empty, until SIGTERM; the workers outlive it."""
    context.obj = settings
    if context.invoked_subcommand is not None:
        return
    from controller import main

    keep_private()
    telemetry.configure("controller", level=settings.log_level, format=settings.log_format)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # In a thread: the handler may have interrupted the main thread inside the event's own lock.
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    parent_watch.watch_parent(os.environ)
    backend, worker_command = Backend(settings), module_command("tagfleet", "worker")
    if dry_run or settings.controller.dry_run:
        main.dry_run(backend, worker_command, stop, _show, record=record)
    else:
        main.run(backend, worker_command, stop, record=record)


@command.command("explain", short_help="Show the last decision of each pool, and why.")
@click.option("--pool", default=None, help="only this pool")
@with_settings()
@click.pass_context
def explain_command(context: click.Context, settings: Settings, pool: str | None) -> None:
    """Print the last decision of each pool, with every term behind it."""
    backend = existing(_chosen(context, settings))
    roster = backend.roster
    records = [record for record in roster.decisions() if pool in (None, record.pool)]
    if not records:
        which = f" about the pool {pool!r}" if pool else ""
        raise click.ClickException(
            f"no decision{which} is stored in {backend.store_place}: has a controller run there?"
        )
    _show(records, paused=roster.paused())


@command.command("drain")
@click.argument("worker")
@with_settings()
@click.pass_context
def drain_command(context: click.Context, settings: Settings, worker: str) -> None:
    """Have WORKER finish what it holds and end."""
    roster = existing(_chosen(context, settings)).roster
    try:
        orders.request_drain(roster, worker, {beat.worker_id for beat in roster.workers()})
    except orders.NoSuchWorker as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{worker} was asked to drain")


@command.command("cap", short_help="Show or set the maximum number of workers.", context_settings=_NEGATIVE)
@click.argument("n", required=False)
@with_settings()
@click.pass_context
def cap_command(context: click.Context, settings: Settings, n: str | None) -> None:
    """Print the maximum number of workers of all pools, or set it to N.

    N replaces the setting controller.max_workers from the controller's next tick on. `default` returns to the setting;
    0 drains all workers.
    """
    settings = _chosen(context, settings)
    roster = existing(settings).roster
    if n is not None:
        try:
            orders.set_max_workers(roster, None if n == "default" else int(n))
        except orders.InvalidOrder as error:
            raise click.ClickException(str(error)) from None
        except ValueError:
            raise click.ClickException(f"a cap is a number of workers or `default`, not {n!r}") from None
    click.echo(orders.describe_cap(roster, settings.controller.max_workers))


@command.command("log", short_help="List who started or ended which worker, and why.")
@click.option("--pool", default=None, help="only this pool")
@click.option("--worker", default=None, help="only this worker")
@click.option(
    "-n", "--lines", "count", type=click.IntRange(min=1), default=50, show_default=True, help="only the last N"
)
@with_settings()
@click.pass_context
def log_command(context: click.Context, settings: Settings, pool: str | None, worker: str | None, count: int) -> None:
    """Print the last events of the fleet, the latest last, in this machine's time zone."""
    from controller.events.render import event_table

    backend = existing(_chosen(context, settings))
    found = [one for one in backend.roster.events() if pool in (None, one.pool) and worker in (None, one.worker_id)]
    if not found:
        about = f" of the worker {worker!r}" if worker else f" of the pool {pool!r}" if pool else ""
        raise click.ClickException(f"no event{about} is stored in {backend.store_place}: has a controller run there?")
    click.echo(event_table(found[-count:], datetime.now().astimezone().tzinfo or UTC))


@command.command("pause")
@with_settings()
@click.pass_context
def pause_command(context: click.Context, settings: Settings) -> None:
    """Stop launching and draining workers until `resume`. Tagging goes on."""
    existing(_chosen(context, settings)).roster.pause()
    click.echo("paused; `tagfleet controller resume` goes on")


@command.command("resume")
@with_settings()
@click.pass_context
def resume_command(context: click.Context, settings: Settings) -> None:
    """End a pause."""
    existing(_chosen(context, settings)).roster.resume()
    click.echo("resumed")


@command.command("replay", short_help="Show where another policy would have acted differently.")
@click.argument("recording", type=click.File())
@click.option("--policy", "name", default="tagfleet", show_default=True, help="or per-message, keda, aws, cortex")
@click.option(
    "--drain-goal", "drain_goal_s", type=click.FloatRange(0, min_open=True), help="seconds  [default: the recorded one]"
)
@click.option("--max-workers", type=click.IntRange(0), help="[default: the recorded cap]")
def replay_command(recording: TextIO, name: str, drain_goal_s: float | None, max_workers: int | None) -> None:
    """Replay a recording under a policy, and print where the policy would have acted differently.

    RECORDING is a file that `controller --record FILE` wrote.
    """
    from controller.events.render import sentence
    from controller.events.replay import BadRecording, read, replay
    from controller.simulation.compare import POLICIES, policy_named

    if name not in POLICIES:
        raise click.BadParameter(f"there is no policy {name!r}; there are {', '.join(POLICIES)}", param_hint="--policy")
    try:
        policy, ticks = read(recording)
        if drain_goal_s is not None:
            policy = replace(policy, drain_goal_s=drain_goal_s)
        count = 0
        for found in replay(ticks, policy_named(name), policy, max_workers):
            count += 1
            instead = f"{found.other.action} instead of {found.recorded.action}"
            click.echo(f"{found.at:8.1f} s  {found.other.pool}: {instead}\n{'':12}{sentence(found.other)}")
    except BadRecording as error:
        raise click.ClickException(f"{recording.name}: {error}") from None
    click.echo(f"{count:,} decisions differ")


def _chosen(context: click.Context, settings: Settings) -> Settings:
    """Return the settings of a sub-command, or those of the options given before it."""
    given = any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ("home", "config_file"))
    chosen: Settings = settings if given else context.obj
    return chosen


def _show(records: list[DecisionRecord], *, paused: bool = False) -> None:
    from controller.events.render import explain

    click.echo(explain(records, time.time(), paused=paused) + "\n")
