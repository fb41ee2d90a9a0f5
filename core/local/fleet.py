"""A fleet of worker processes on this machine. They outlive the controller; a later one finds them by their files."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from config import settings as config
from config.settings import Settings
from core import exits, telemetry
from core.errors import Unavailable
from core.local import instance_files
from core.local.instance_files import Record
from core.storage.ports import PROCESS, Instance, Launch, Offering
from core.util.disk_errors import guarded
from core.util.private import private_folder, private_log

_ANNOUNCE = r"""[ -e "$0" ] && printf '\n{"pid": %d}\n' $$ >> "$0" && exec "$@" """
"""Run by sh: the new process writes its id before it becomes the worker. So every running worker can be found again, no
matter when its launcher was killed."""
_KEPT_LOGS = 100
_LEFTOVER_S = 60.0
_NOT_FOR_WORKERS = (
    *("TAGFLEET_LIFELINE", "TAGFLEET_PULSE", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"),
    *("TAGFLEET_CONFIG", "TAGFLEET_WEB__CATALOG_URL"),
)
"""Variables that workers must not inherit: they outlive their parent, get each setting as a variable of its own, and
decode strangers' files, so they must not have the catalogue's password."""


class LocalFleet:
    """Starts and ends workers. Several of these, in several processes, may manage the same `root`.

    An instance's id follows from its launch's token and its number, and its file is created only if there is none: a
    replay starts the workers that the first call did not reach, and none twice. If the launcher was killed before the
    worker started, the instance counts as gone, and a replay does not start it. A token is remembered for `keep_gone_s`
    after its instance was first found gone.

    `terminate` sends SIGTERM. The first call of `instances` or `terminate` after `grace_s` sends SIGKILL to the whole
    process group. `clock` gives Unix seconds.
    """

    def __init__(
        self,
        root: Path,
        worker_command: Sequence[str],
        settings: Settings,
        *,
        environ: Mapping[str, str] = os.environ,
        grace_s: float = 8.0,
        keep_gone_s: float = 600.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = root.absolute()
        self._logs = settings.home / "logs"
        self._command = list(worker_command)
        given = config.child_environment(environ, settings)
        self._environ = {name: value for name, value in given.items() if name not in _NOT_FOR_WORKERS}
        self._grace_s = grace_s
        self._keep_gone_s = keep_gone_s
        self._clock = clock
        self._children: dict[str, _Child] = {}
        with guarded("make the folder", self._root):
            private_folder(self._root)

    def instances(self) -> list[Instance]:
        found = [self._advance(record) for record in self._records()]
        return sorted(
            (record.instance for record in found if record and not record.failed), key=lambda i: (i.launched_at, i.id)
        )

    def offerings(self, pool: str) -> list[Offering]:
        return [PROCESS]

    def launch(self, pool: str, count: int, token: str, offering: Offering = PROCESS) -> Launch:
        digest = hashlib.sha256(token.encode()).hexdigest()[:12]
        launched, reasons = [], []
        for number in range(count):
            record = self._ensure(f"wrk-{digest}-{number}", pool, token)
            if record.failed:
                reasons.append(record.failed)
            else:
                launched.append(record.instance)
        self._prune_logs()
        return Launch(launched, len(reasons), reasons[0] if reasons else "")

    def set_aside(self, ids: Sequence[str]) -> None:
        """Do nothing: nobody takes processes back."""

    def terminate(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            path = instance_files.path_of(self._root, id_)
            record = instance_files.read(path) if path.parent == self._root else None
            if record is None or not record.alive:
                continue
            if record.stop_at is None:
                now = self._clock()
                instance_files.append(path, stop_at=now)
                record = replace(record, stop_at=now)
            self._advance(record)

    def _records(self) -> list[Record]:
        with guarded("list the instances in", self._root):
            names = sorted(os.listdir(self._root))  # noqa: PTH208
        found = []
        for name in names:
            path = self._root / name
            if name.startswith("."):
                if instance_files.is_abandoned(path, _LEFTOVER_S, time.time()):
                    path.unlink(missing_ok=True)
            elif name.endswith(instance_files.SUFFIX) and (record := instance_files.read(path)):
                found.append(record)
        return found

    def _ensure(self, id: str, pool: str, token: str) -> Record:
        """Start the instance unless it has a file."""
        path = instance_files.path_of(self._root, id)
        fd = instance_files.create(path, pool=pool, token=token, launched_at=self._clock())
        if fd is not None:
            try:
                self._spawn(id, pool, fd)
            except OSError as error:
                instance_files.append(path, failed=f"cannot start a worker: {error.strerror or error}")
            finally:
                os.close(fd)
        record = instance_files.read(path)
        if record is None:
            raise Unavailable(f"instance file {path} vanished while its worker was started; is {self._root} in use?")
        return record

    def _spawn(self, id: str, pool: str, fd: int) -> None:
        if shutil.which(self._command[0], path=self._environ.get("PATH")) is None:
            raise FileNotFoundError(errno.ENOENT, f"there is no program {self._command[0]}")
        arguments = [*self._command, "--pool", pool, "--instance", id]
        with self._open_log(id) as log:
            self._children[id] = _Child(
                ["/bin/sh", "-c", _ANNOUNCE, str(instance_files.path_of(self._root, id)), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environ,
                pass_fds=(fd,),
                start_new_session=True,
            )

    def _open_log(self, id: str) -> BinaryIO:
        """Open the worker's log. A worker whose log cannot be written runs without one."""
        path = self._logs / f"worker-{id}.log"
        try:
            return private_log(path)
        except OSError as error:
            telemetry.logger().warning("a worker has no log", worker=id, log=str(path), reason=error.strerror)
            return open(os.devnull, "ab")  # noqa: PTH123  # no file of ours

    def _advance(self, record: Record) -> Record | None:
        """Send the signal that is due, or record the end of a dead instance. Returns None once it is forgotten."""
        path = instance_files.path_of(self._root, record.id)
        now = self._clock()
        if record.alive:
            self._send_due_signal(record, path, now)
            return record
        child = self._children.get(record.id)
        if child is not None:
            if child.poll() is None:
                return replace(record, alive=True)  # it is exiting: the kernel frees the lock first
            ended = self._describe_end(record, child.returncode)
            instance_files.append(path, exit_status=child.returncode, ended=ended)
            record = replace(record, exit_status=child.returncode, ended=ended)
            del self._children[record.id]
        elif record.gone_at is None and (ended := self._describe_end(record, None)):
            instance_files.append(path, ended=ended)
            record = replace(record, ended=ended)
        if record.gone_at is None:
            instance_files.append(path, gone_at=now)
        elif now - record.gone_at > self._keep_gone_s:
            path.unlink(missing_ok=True)
            return None
        return record

    def _describe_end(self, record: Record, exit_code: int | None) -> str:
        """Return how the instance ended; "" if it was asked to end, or if nothing is known."""
        if record.stop_at is not None:
            return ""
        return exits.describe_end(exit_code, exits.read_tail(self._logs / f"worker-{record.id}.log"))

    def _send_due_signal(self, record: Record, path: Path, now: float) -> None:
        """Send the signal that is due. The lock is held, so process id and group are still the worker's."""
        if record.stop_at is None or record.pid is None:
            return
        with suppress(ProcessLookupError):
            if now - record.stop_at >= self._grace_s:
                os.killpg(record.pid, signal.SIGKILL)
            elif record.term_at is None:
                os.kill(record.pid, signal.SIGTERM)
                instance_files.append(path, term_at=now)

    def _prune_logs(self) -> None:
        """Delete old logs, except for the newest and for instances that still have a file."""
        with suppress(OSError):
            logs = {path: path.stat().st_mtime for path in self._logs.glob("worker-*.log")}
            for path in sorted(logs, key=logs.__getitem__)[:-_KEPT_LOGS]:
                if not instance_files.path_of(self._root, path.stem.removeprefix("worker-")).exists():
                    path.unlink(missing_ok=True)


class _Child(subprocess.Popen[bytes]):
    def __del__(self) -> None:
        """Suppress Popen's warning about a running child: a worker may outlive its fleet object."""
