"""Starts the parts, keeps them running, tells a person what happens, and ends everything within ten seconds."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from config import settings as config
from config.settings import Settings
from core.errors import TagfleetError, Unavailable
from core.storage.ports import InstanceState
from core.util import parent_watch
from core.util.interpreter import module_command
from core.wiring import Backend
from tagfleet.client import Client, ClientError, Patience, Refused
from tagfleet.supervisor.child import Child
from tagfleet.supervisor.claim import claimed, free_port, sign
from tagfleet.supervisor.console_reporter import ConsoleReporter, Snapshot

Say = Callable[[str], None]

_TAGFLEET = tuple(module_command("tagfleet"))
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SECOND_SIGNAL_S = 0.5
"""One Ctrl-C may arrive twice, from the terminal and from a program that passes it on."""
_TICK_S = 0.2
_LOOK_S = 1.0
_LEFT_BEHIND_S = 5.0
"""The parts of a killed `up` end at their lifelines; the web tier's port is free soon after."""

# The ends of the phases of stopping, in seconds since its begin; each kills what is still there.
_CONTROLLER_END_S, _WORKERS_END_S, _ALL_END_S = 1.5, 6.5, 8.5
_WORKER_GRACE_S = 4.5


def supervise(
    settings: Settings, say: Say, url_of: Callable[[str, int], str], environ: Mapping[str, str] = os.environ
) -> None:
    """Run the deployment until SIGINT, SIGTERM or SIGHUP; these signals are ignored afterwards, so end the process.

    `url_of` gives the address at which this machine reaches a server that listens on a host and a port. Call it from
    the main thread. Raises CannotStart, and what opening the store raises, before anything is started.
    """
    with claimed(settings.home) as left_behind:
        _ = Backend(settings).store  # a bucket without a name would end each part again and again
        port = free_port(settings.host, settings.port, patience_s=_LEFT_BEHIND_S if left_behind else 0)
        settings = settings.model_copy(update={"port": port})
        url = url_of(settings.host, port)
        sign(settings.home, url)
        read, write = os.pipe()
        try:
            Supervisor(settings, url, say, environ, lifeline_fd=read).run()
        finally:
            os.close(write)
            os.close(read)


class Supervisor:
    def __init__(self, settings: Settings, url: str, say: Say, environ: Mapping[str, str], *, lifeline_fd: int) -> None:
        self._settings = settings
        self._url = url
        self._say = say
        self._environ = {
            **config.child_environment(environ, settings),
            parent_watch.VARIABLE: str(lifeline_fd),
        }
        self._lifeline_fd = lifeline_fd
        self._backend = Backend(settings)
        self._web, self._collector = self._child("web"), self._child("collector", beats=True)
        self._prepare, self._controller = self._child("prepare"), self._child("controller", beats=True)
        self._kept: list[Child] = []
        self._wake = threading.Event()
        self._stop_asked: float | None = None
        self._hurry = False
        self._over = threading.Event()

    def run(self) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)
        try:
            self._say(f"starting; {self._kept_where}")
            self._start()
            watcher.start()
            self._keep()
            self._over.set()
            self._say("stopping; press Ctrl-C again to kill everything at once")
        finally:
            self._over.set()
            self._stop()
            for number in _SIGNALS:  # all has ended: one more Ctrl-C must not make a failure of it
                signal.signal(number, signal.SIG_IGN)
        ending = "killed everything at once" if self._hurry else "stopped"
        self._say(f"{ending}; a new start goes on where this one ended")

    @property
    def _on_aws(self) -> bool:
        return self._settings.backend == "aws"

    @property
    def _kept_where(self) -> str:
        if not self._on_aws:
            return f"everything is kept in {self._settings.home}"
        aws = self._settings.aws
        return f"images are kept in s3://{aws.input_bucket}, results in s3://{aws.output_bucket}, workers run on EC2"

    def _child(self, name: str, *, beats: bool = False) -> Child:
        return Child(
            name,
            [*_TAGFLEET, name],
            environ=self._environ,
            lifeline=self._lifeline_fd,
            log=self._settings.home / "logs" / f"{name}.log",
            stalled_s=self._settings.stalled_s if beats else 0.0,
        )

    # --- running ------------------------------------------------------------------------------

    def _start(self) -> None:
        first = [self._web, self._collector]
        if not self._on_aws:  # there the image of the workers has it all
            first.append(self._prepare)
        for child in first:
            child.start()
        self._kept = [self._web, self._collector]

    def _keep(self) -> None:
        while self._stop_asked is None:
            if self._controller not in self._kept and not self._prepare.alive:
                if self._prepare.exit_code:
                    self._say(
                        f"preparing the taggers {self._prepare.ending}. {self._prepare.cause}{self._prepare.last_words}"
                    )
                self._controller.start()
                self._kept.append(self._controller)
            for child in self._kept:
                if line := child.tend():
                    self._say(line)
            self._wait(_TICK_S)

    def _watch(self) -> None:
        """In a thread of its own: a slow answer must not hold up the ending of anything."""
        reporter = ConsoleReporter()
        announced, trouble = False, ""
        pause = _TICK_S
        with Client(self._url, timeout=5, patience=Patience(total_s=0)) as client:
            while not self._over.wait(pause):
                batches = None
                answered = False
                try:
                    batches = list(client.batches(limit=50))
                    answered = True
                except Refused:  # it asks for a key, which is an answer too
                    answered = True
                except ClientError:
                    pass
                if answered and not announced:
                    self._say(f"Tagfleet is at {self._url}  (Ctrl-C stops it)")
                    announced, pause = True, _LOOK_S
                try:
                    roster = self._backend.roster
                    seen = roster.workers(), roster.pools(), roster.decisions()
                    lines = reporter.report(Snapshot(*seen, batches, roster.events()))
                except TagfleetError as error:
                    lines = [] if str(error) == trouble else [str(error)]
                    trouble = str(error)
                for line in lines if not self._over.is_set() else []:
                    self._say(line)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._stop_asked is None:
            self._stop_asked = now
        elif now - self._stop_asked > _SECOND_SIGNAL_S:
            self._hurry = True
        self._wake.set()

    # --- stopping -----------------------------------------------------------------------------

    def _stop(self) -> None:
        """First what starts workers, then the workers, last what receives their results."""
        begin = time.monotonic()
        self._end([self._controller, self._prepare], begin + _CONTROLLER_END_S)
        try:
            if self._on_aws:
                self._leave_workers()
            else:
                self._end_workers(begin + _WORKERS_END_S)
        except TagfleetError as error:
            self._say(f"{error}. Workers that are left end by themselves after {self._settings.worker.abandoned_s:g} s")
        self._end([self._collector, self._web], begin + _ALL_END_S)

    def _end(self, children: Sequence[Child], deadline: float) -> None:
        for child in children:
            child.terminate()
        self._wait_while(lambda: any(child.alive for child in children), deadline)
        for child in children:
            child.kill()
        while any(child.alive for child in children):
            time.sleep(0.005)

    def _end_workers(self, deadline: float) -> None:
        fleet = self._backend.fleet([*_TAGFLEET, "worker"], grace_s=_WORKER_GRACE_S)

        def ending() -> bool:
            living = [instance for instance in fleet.instances() if instance.state is not InstanceState.GONE]
            fleet.terminate([instance.id for instance in living if instance.state is not InstanceState.STOPPING])
            return bool(living)

        self._wait_while(ending, deadline)
        fleet = self._backend.fleet([*_TAGFLEET, "worker"], grace_s=0)
        while left := [instance.id for instance in fleet.instances() if instance.state is not InstanceState.GONE]:
            fleet.terminate(left)  # twice: SIGTERM to those that had none, then SIGKILL
            if time.monotonic() > deadline + 1:  # stuck in the kernel
                raise Unavailable(f"the workers {', '.join(left)} do not end")
            time.sleep(0.005)

    def _leave_workers(self) -> None:
        """Machines take minutes to end, and their work may go on: another controller finds them again."""
        fleet = self._backend.fleet([], grace_s=0)
        if living := [one for one in fleet.instances() if one.state is not InstanceState.GONE]:
            self._say(
                f"{len(living)} workers on AWS go on with their work; without a controller each ends itself when it "
                f"has been idle for {self._settings.worker.abandoned_s:g} s. `tagfleet aws down` ends them now"
            )

    def _wait_while(self, condition: Callable[[], bool], deadline: float) -> None:
        while condition() and time.monotonic() < deadline and not self._hurry:
            self._wait(0.05)

    def _wait(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()
