"""Start the deployment's processes, keep them running, report to the terminal, and stop within ten seconds."""

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
from tagfleet.supervisor.console_reporter import ConsoleReporter, Snapshot
from tagfleet.supervisor.instance_lock import find_free_port, instance_lock, write_owner

Say = Callable[[str], None]

_TAGFLEET = tuple(module_command("tagfleet"))
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SECOND_SIGNAL_S = 0.5
"""One Ctrl-C may arrive twice: from the terminal, and from a program that forwards it."""
_TICK_S = 0.2
_LOOK_S = 1.0
_LEFT_BEHIND_S = 5.0
"""The children of a killed `up` notice that their parent is gone and end; the web tier's port is free soon after."""

# Ends of the phases of stopping, in seconds since its beginning. Each phase kills what is left of it.
_CONTROLLER_END_S, _WORKERS_END_S, _ALL_END_S = 1.5, 6.5, 8.5
_WORKER_GRACE_S = 4.5


def supervise(
    settings: Settings, say: Say, url_of: Callable[[str, int], str], environ: Mapping[str, str] = os.environ
) -> None:
    """Run the deployment until SIGINT, SIGTERM or SIGHUP; these signals are ignored afterwards, so end the process.

    `url_of` returns the address at which this machine reaches a server that listens on a host and a port. Call
    `supervise` from the main thread. Raises CannotStart, and errors of opening the store, before it starts anything.
    """
    with instance_lock(settings.home) as was_killed:
        _ = Backend(settings).store  # if a bucket has no name, fail now and not in each process again and again
        port = find_free_port(settings.host, settings.port, patience_s=_LEFT_BEHIND_S if was_killed else 0)
        settings = settings.model_copy(update={"port": port})
        url = url_of(settings.host, port)
        write_owner(settings.home, url)
        read, write = os.pipe()
        try:
            Supervisor(settings, url, say, environ, parent_fd=read).run()
        finally:
            os.close(write)
            os.close(read)


class StopSignals:
    """Records SIGINT, SIGTERM and SIGHUP: the first one asks to stop, a second one to stop at once."""

    def __init__(self) -> None:
        self._asked_at: float | None = None
        self._wake = threading.Event()
        self.at_once = False

    @property
    def asked(self) -> bool:
        return self._asked_at is not None

    def listen(self) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)

    def ignore(self) -> None:
        """Ignore further signals: after everything has ended, one more Ctrl-C must not look like a failure."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def wait(self, seconds: float) -> None:
        """Wait this long, or until the next signal."""
        self._wake.wait(seconds)
        self._wake.clear()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
        elif now - self._asked_at > _SECOND_SIGNAL_S:
            self.at_once = True
        self._wake.set()


class Supervisor:
    """Runs one deployment's processes until a signal asks it to stop.

    1. Web tier and collector start at once, the controller once `prepare` has ended.
    2. Each of them restarts when it dies, collector and controller also when they stall. The controller looks after the
       workers.
    3. Stopping takes at most ten seconds: first the processes that start work, at last the receivers of its results.
    """

    def __init__(self, settings: Settings, url: str, say: Say, environ: Mapping[str, str], *, parent_fd: int) -> None:
        self._settings = settings
        self._url = url
        self._say = say
        self._backend = Backend(settings)
        environ = {**config.child_environment(environ, settings), parent_watch.VARIABLE: str(parent_fd)}

        def child(name: str, *, stalled_s: float = 0.0) -> Child:
            log = settings.home / "logs" / f"{name}.log"
            command = [*_TAGFLEET, name]
            return Child(name, command, environ=environ, parent_fd=parent_fd, log=log, stalled_s=stalled_s)

        self._web, self._collector = child("web"), child("collector", stalled_s=settings.stalled_s)
        self._prepare, self._controller = child("prepare"), child("controller", stalled_s=settings.stalled_s)
        self._kept: list[Child] = []
        """The children that restart when they die."""
        self._signals = StopSignals()
        self._over = threading.Event()

    def run(self) -> None:
        """Run until a signal asks to stop, then stop everything."""
        self._signals.listen()
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
            self._signals.ignore()
        ending = "killed everything at once" if self._signals.at_once else "stopped"
        self._say(f"{ending}; a new start goes on where this one ended")

    @property
    def _on_aws(self) -> bool:
        return self._settings.backend == "aws"

    @property
    def _kept_where(self) -> str:
        if not self._on_aws:
            return f"all data is in {self._settings.home}"
        aws = self._settings.aws
        return f"images are in s3://{aws.input_bucket}, results in s3://{aws.output_bucket}, workers run on EC2"

    # --- running ------------------------------------------------------------------------------

    def _start(self) -> None:
        first = [self._web, self._collector]
        if not self._on_aws:  # on AWS the workers' image contains the prepared taggers
            first.append(self._prepare)
        for child in first:
            child.start()
        self._kept = [self._web, self._collector]

    def _keep(self) -> None:
        while not self._signals.asked:
            if self._controller not in self._kept and not self._prepare.alive:
                if self._prepare.exit_code:
                    self._say(f"preparing the taggers {self._prepare.report()}")
                self._controller.start()
                self._kept.append(self._controller)
            for child in self._kept:
                if line := child.tend():
                    self._say(line)
            self._signals.wait(_TICK_S)

    def _watch(self) -> None:
        """Report events. This runs in its own thread, because a slow answer must not delay stopping."""
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
                except Refused:  # the web tier asks for a key, so it is up
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
                    trouble = ""
                except TagfleetError as error:
                    lines = [] if str(error) == trouble else [str(error)]
                    trouble = str(error)
                for line in lines if not self._over.is_set() else []:
                    self._say(line)

    # --- stopping -----------------------------------------------------------------------------

    def _stop(self) -> None:
        """End the processes that start workers, then the workers, then the processes that receive their results."""
        begin = time.monotonic()
        self._end([self._controller, self._prepare], begin + _CONTROLLER_END_S)
        try:
            if self._on_aws:
                self._leave_workers()
            else:
                self._end_workers(begin + _WORKERS_END_S)
        except TagfleetError as error:
            self._say(f"{error}. Remaining workers end by themselves after {self._settings.worker.abandoned_s:g} s")
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
            fleet.terminate(left)  # once for SIGTERM, again for SIGKILL
            if time.monotonic() > deadline + 1:  # stuck in the kernel
                raise Unavailable(f"the workers {', '.join(left)} do not end")
            time.sleep(0.005)

    def _leave_workers(self) -> None:
        """Leave the workers on AWS running: instances take minutes to end, and another controller can adopt them."""
        fleet = self._backend.fleet([], grace_s=0)
        if living := [one for one in fleet.instances() if one.state is not InstanceState.GONE]:
            self._say(
                f"{len(living)} workers on AWS keep working; without a controller each ends after "
                f"{self._settings.worker.abandoned_s:g} s without work. `tagfleet aws down` ends them now"
            )

    def _wait_while(self, condition: Callable[[], bool], deadline: float) -> None:
        while condition() and time.monotonic() < deadline and not self._signals.at_once:
            self._signals.wait(0.05)
