"""What is particular to a fleet of processes."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from config import settings as config
from core.errors import Unavailable
from core.local import instance_files
from core.local.fleet import LocalFleet

_WORKER = """
import os, pathlib, signal, sys, time
instance = sys.argv[sys.argv.index("--instance") + 1]
if "--stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "--with-child" in sys.argv and os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
with open(pathlib.Path(sys.argv[1]) / f"started-{instance}", "a") as file:
    file.write(f"{os.getpid()} ")
if "--hungry" in sys.argv:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))
    bytearray(1 << 34)
if "--killed" in sys.argv:
    os.kill(os.getpid(), signal.SIGKILL)
if "--brief" in sys.argv:
    sys.exit(3)
time.sleep(600)
"""
_LAUNCH = """
import sys
from pathlib import Path
from config import settings
from core.local.fleet import LocalFleet
home = Path(sys.argv[1])
fleet = LocalFleet(home / "instances", sys.argv[4:], settings.load({}, flags={"home": str(home)}))
print("ready", flush=True)
sys.stdin.readline()
fleet.launch("resnet50", int(sys.argv[3]), sys.argv[2])
print("launched", flush=True)
sys.stdin.readline()
"""


class Lab:
    """A folder in which several fleets look after the same workers."""

    def __init__(self, home: Path, settings: config.Settings) -> None:
        self.home = home
        self.root = home / "instances"
        self.settings = settings
        self.ahead = 0.0
        home.mkdir(parents=True)

    def open(self, *flags: str, **more) -> LocalFleet:
        return LocalFleet(
            self.root, self.command(*flags), self.settings, clock=lambda: time.time() + self.ahead, **more
        )

    def command(self, *flags: str) -> list[str]:
        return [sys.executable, "-c", _WORKER, str(self.home), *flags]

    def starts(self, id: str) -> list[int]:
        """The process ids under which this instance's worker was ever started."""
        file = self.home / f"started-{id}"
        return [int(pid) for pid in file.read_text().split()] if file.exists() else []

    def states(self) -> dict[str, str]:
        return {instance.id: instance.state.value for instance in self.open().instances()}


@pytest.fixture
def lab(settings, eventually):
    lab = Lab(settings.home, settings)
    yield lab
    fleet = lab.open(grace_s=0)
    if lab.root.is_dir():
        fleet.terminate([instance.id for instance in fleet.instances()])
        eventually(lambda: all(instance.state == "gone" for instance in fleet.instances()))


@pytest.fixture
def launch_one(lab, eventually):
    """Launches one worker, waits until it has come up, and gives its id."""

    def launch(fleet: LocalFleet, token: str = "token") -> str:
        [instance] = fleet.launch("resnet50", 1, token).instances
        eventually(lambda: lab.starts(instance.id))
        return instance.id

    return launch


def test_a_worker_gets_its_flags_its_settings_and_its_log(lab, eventually):
    environ = {"PATH": os.environ["PATH"], "HOME": "/h", "TAGFLEET_LIFELINE": "3", "TAGFLEET_CONFIG": "x.toml"}
    settings = config.load({}, flags={"home": str(lab.home), "worker.batch_size": 7})
    environ["TAGFLEET_WEB__CATALOG_URL"] = "postgresql://me:secret@db/tags"
    command = [sys.executable, "-c", "import os, sys, json; print(json.dumps([sys.argv[1:], dict(os.environ)]))"]
    fleet = LocalFleet(lab.root, command, settings, environ=environ)
    [instance] = fleet.launch("florence2", 1, "token").instances
    log = lab.home / "logs" / f"worker-{instance.id}.log"
    eventually(lambda: log.read_text().endswith("\n"))
    arguments, found = json.loads(log.read_text())
    assert arguments == ["--pool", "florence2", "--instance", instance.id]
    assert config.load({k: v for k, v in found.items() if k.startswith("TAGFLEET_")}) == settings
    assert "secret" not in log.read_text(), "who decodes strangers' images has no business in the catalogue"
    assert (found["HOME"], "TAGFLEET_LIFELINE" in found, "TAGFLEET_CONFIG" in found) == ("/h", False, False)


def test_workers_outlive_their_launcher_and_are_found(lab, python, eventually):
    launcher = python(_LAUNCH, lab.home, "token", 2, *lab.command())
    launcher.stdin.write("\n\n")
    launcher.stdin.flush()
    assert launcher.wait(120) == 0, launcher.stderr.read()
    eventually(lambda: set(lab.states().values()) == {"running"})
    assert len(lab.states()) == 2
    lab.open().terminate(list(lab.states()))
    eventually(lambda: set(lab.states().values()) == {"gone"})


def test_a_launcher_killed_at_any_moment_starts_each_worker_at_most_once(lab, python, eventually):
    dice = random.Random(1)
    for token in map(str, range(12)):
        launcher = python(_LAUNCH, lab.home, token, 3, *lab.command())
        assert launcher.stdout.readline() == "ready\n", launcher.stderr.read()
        launcher.stdin.write("\n")
        launcher.stdin.flush()
        moment = time.monotonic() + dice.uniform(0, 0.006)
        while time.monotonic() < moment:
            pass
        launcher.kill()
        launcher.wait()
        again = lab.open().launch("resnet50", 3, token)
        assert len(again.instances) == 3
        found = {i.id for i in lab.open().instances() if i.token == token}
        assert found == {instance.id for instance in again.instances}
    eventually(lambda: all(lab.starts(id_) or state == "gone" for id_, state in lab.states().items()))
    assert len(lab.states()) == 36
    for id_, state in lab.states().items():
        assert len(lab.starts(id_)) <= 1
        assert (state == "running") == bool(lab.starts(id_))


def test_a_launcher_that_died_before_it_started_the_worker(lab, launch_one, eventually):
    id_ = launch_one(lab.open("--brief"))
    eventually(lambda: lab.states() == {id_: "gone"})
    path = instance_files.path_of(lab.root, id_)
    path.unlink()
    fd = instance_files.create(path, pool="resnet50", token="token", launched_at=5.0)
    assert lab.states() == {id_: "pending"}
    os.close(fd)  # as the kernel does for the dead
    assert lab.states() == {id_: "gone"}
    [again] = lab.open().launch("resnet50", 1, "token").instances
    assert (again.id, again.state, again.launched_at) == (id_, "gone", 5.0)


def test_those_who_look_do_not_take_each_other_for_a_worker(lab, launch_one, eventually):
    id_ = launch_one(lab.open("--brief"))
    eventually(lambda: lab.states() == {id_: "gone"})
    with instance_files.path_of(lab.root, id_).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # another controller is looking just now
        assert lab.states() == {id_: "gone"}


def test_nobody_runs_whose_process_id_could_not_be_written_down(lab, eventually):
    class Unlucky(LocalFleet):
        """Somebody removes the instance's file before the worker starts."""

        def _spawn(self, id, pool, fd):
            instance_files.path_of(lab.root, id).unlink()
            super()._spawn(id, pool, fd)
            eventually(lambda: self._children[id].poll() is not None)

    with pytest.raises(Unavailable, match="vanished while its worker was started"):
        Unlucky(lab.root, lab.command(), lab.settings).launch("resnet50", 1, "token")
    assert list(lab.home.glob("started-*")) == []


def test_a_worker_that_ignores_sigterm_is_killed_by_whoever_looks_later(lab, launch_one, python):
    id_ = launch_one(lab.open("--stubborn"))
    lab.open(grace_s=10).terminate([id_])
    assert lab.states() == {id_: "stopping"}
    script = """
import sys, time
from pathlib import Path
from config import settings
from core.local.fleet import LocalFleet
home = Path(sys.argv[1])
fleet = LocalFleet(home / "instances", ["x"], settings.load({}, flags={"home": str(home)}), grace_s=0)
while fleet.instances()[0].state != "gone":
    time.sleep(0.01)
"""
    process = python(script, lab.home)
    assert process.wait(120) == 0, process.stderr.read()
    assert lab.states() == {id_: "gone"}


def test_sigterm_is_sent_once(lab, eventually):
    script = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
print("up", flush=True)
while True:
    time.sleep(1)
"""
    fleet = LocalFleet(lab.root, [sys.executable, "-c", script], lab.settings, grace_s=1_000)
    [instance] = fleet.launch("resnet50", 1, "token").instances
    log = lab.home / "logs" / f"worker-{instance.id}.log"
    eventually(lambda: "up" in log.read_text())
    for _ in range(3):
        fleet.terminate([instance.id])
        fleet.instances()
    eventually(lambda: "asked" in log.read_text())
    fleet.instances()
    record = instance_files.read(instance_files.path_of(lab.root, instance.id))
    assert record is not None
    os.kill(record.pid, signal.SIGTERM)  # a last one, by which we see that those before it were one
    eventually(lambda: log.read_text().count("asked") == 2)


def test_an_instance_stopped_before_its_process_is_known_is_asked_as_soon_as_it_is(lab, python, eventually):
    lab.open()
    path = instance_files.path_of(lab.root, "wrk-slow")
    fd = instance_files.create(path, pool="resnet50", token="token", launched_at=time.time())
    lab.open().terminate(["wrk-slow"])
    assert lab.states() == {"wrk-slow": "stopping"}
    process = python("import sys; print(flush=True); sys.stdin.read()")
    process.stdout.readline()
    instance_files.append(path, pid=process.pid)
    lab.states()
    assert process.wait(120) == -signal.SIGTERM
    os.close(fd)
    assert lab.states() == {"wrk-slow": "gone"}


def test_the_children_of_a_worker_go_with_it(lab, launch_one, eventually):
    id_ = launch_one(lab.open("--with-child"))
    [pid] = lab.starts(id_)
    os.kill(pid, signal.SIGKILL)
    assert lab.states() == {id_: "running"}, "its child still holds the lock"
    lab.open().terminate([id_])
    assert lab.states() == {id_: "stopping"}
    lab.ahead += 60
    eventually(lambda: lab.states() == {id_: "gone"})


def test_dead_workers_are_no_zombies(lab, launch_one, eventually):
    fleet = lab.open()
    id_ = launch_one(fleet)
    [pid] = lab.starts(id_)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: [instance.state for instance in fleet.instances()] == ["gone"])
    assert not Path(f"/proc/{pid}").exists()
    record = instance_files.read(instance_files.path_of(lab.root, id_))
    assert record is not None
    assert record.exit_status == -signal.SIGKILL


def test_the_dead_are_forgotten_only_after_a_while(lab, launch_one, eventually):
    id_ = launch_one(lab.open("--brief"))
    eventually(lambda: lab.states() == {id_: "gone"})
    lab.ahead += 599
    assert lab.states() == {id_: "gone"}
    [again] = lab.open().launch("resnet50", 1, "token").instances
    assert again.state == "gone"
    lab.ahead += 2
    assert lab.states() == {}
    assert list(lab.root.iterdir()) == []


def test_a_worker_that_was_gone_long_before_anybody_looked_is_still_told_of(lab, launch_one, eventually):
    id_ = launch_one(lab.open("--brief"))
    lab.ahead += 100_000
    eventually(lambda: lab.states() == {id_: "gone"})
    lab.ahead += 500
    assert lab.states() == {id_: "gone"}


def test_a_process_that_cannot_be_started_is_a_shortfall_with_its_reason(lab):
    for command, reason in (
        (["no-such-program"], "cannot start a worker: there is no program no-such-program"),
        ([sys.executable, "x" * 300_000], "cannot start a worker: Argument list too long"),
    ):
        launch = LocalFleet(lab.root, command, lab.settings).launch("resnet50", 2, reason)
        assert (launch.instances, launch.shortfall, launch.reason) == ([], 2, reason)
    assert lab.states() == {}
    lab.ahead += 100_000
    lab.states()
    lab.ahead += 100_000
    lab.states()
    assert list(lab.root.iterdir()) == []


def test_a_program_that_does_not_run_is_gone_and_its_log_says_why(lab, eventually):
    script = lab.home / "worker"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    [instance] = LocalFleet(lab.root, [str(script)], lab.settings).launch("resnet50", 1, "token").instances
    eventually(lambda: lab.states() == {instance.id: "gone"})
    assert "not found" in (lab.home / "logs" / f"worker-{instance.id}.log").read_text()


def test_files_that_are_not_ours_are_passed_over(lab):
    fleet = lab.open()
    (lab.root / "notes.txt").write_text("hello")
    (lab.root / "damaged.jsonl").write_text('\n{"pool": "resn')
    (lab.root / "odd.jsonl").write_text("7\n[]\nnull\n")
    assert fleet.instances() == []


def test_a_damaged_file_whose_process_lives_is_no_empty_fleet(lab):
    fleet = lab.open()
    path = instance_files.path_of(lab.root, "wrk-1")
    fd = instance_files.create(path, pool="resnet50")
    with pytest.raises(Unavailable, match=r"wrk-1.jsonl is damaged, and its process lives: end it by hand"):
        fleet.instances()
    os.close(fd)
    path.unlink()


def test_what_a_later_version_writes_is_left_out(lab):
    lab.open()
    path = instance_files.path_of(lab.root, "wrk-1")
    os.close(instance_files.create(path, pool="resnet50", token="t", launched_at=1.0, colour="blue"))
    instance_files.append(path, size="big")
    record = instance_files.read(path)
    assert record is not None
    assert (record.pool, record.alive) == ("resnet50", False)


def test_a_torn_line_spoils_only_itself(lab):
    lab.open()
    path = instance_files.path_of(lab.root, "wrk-1")
    os.close(instance_files.create(path, pool="resnet50", token="t", launched_at=1.0))
    with path.open("a") as file:
        file.write('\n{"stop_at": 17')
    instance_files.append(path, stop_at=2.0)
    instance_files.append(path, stop_at=3.0)
    record = instance_files.read(path)
    assert record is not None
    assert record.stop_at == 2.0, "the first whole one counts"


def test_files_that_a_killed_launcher_left_unnamed_are_removed(lab):
    fleet = lab.open()
    left = lab.root / ".wrk-1.jsonl-00"
    left.write_text("")
    fleet.instances()
    assert left.exists(), "its launcher may be at it"
    os.utime(left, (1, 1))
    fleet.instances()
    assert not left.exists()


def test_old_logs_are_removed_but_not_those_of_instances_that_are_listed(lab, launch_one):
    logs = lab.home / "logs"
    fleet = lab.open()
    id_ = launch_one(fleet)
    os.utime(logs / f"worker-{id_}.log", (1, 1))
    for number in range(130):
        (logs / f"worker-old-{number}.log").write_text("")
        os.utime(logs / f"worker-old-{number}.log", (1_000 + number, 1_000 + number))
    fleet.launch("resnet50", 0, "none")
    left = {path.name for path in logs.iterdir()}
    assert f"worker-{id_}.log" in left
    assert left - {f"worker-{id_}.log"} == {f"worker-old-{number}.log" for number in range(30, 130)}


@pytest.mark.parametrize(
    ("flag", "how"),
    [
        ("--hungry", "ended with exit code 1; it ran out of memory: give this machine more memory"),
        ("--killed", "killed by SIGKILL; probably out of memory (the system's log, `dmesg`, would say so): give"),
        ("--brief", "ended with exit code 3"),
    ],
)
def test_how_a_worker_ended_is_told_by_every_fleet_of_this_folder(lab, eventually, flag, how):
    fleet = lab.open(flag)
    fleet.launch("resnet50", 1, "token")
    eventually(lambda: any(instance.ended for instance in fleet.instances()))
    for other in (fleet, lab.open()):
        (instance,) = other.instances()
        assert instance.ended.startswith(how)


def test_of_one_that_was_asked_to_end_nothing_is_told(lab, eventually):
    fleet = lab.open(grace_s=0)
    (instance,) = fleet.launch("resnet50", 1, "token").instances
    fleet.terminate([instance.id])
    eventually(lambda: set(lab.states().values()) == {"gone"})
    fleet.instances()
    assert [instance.ended for instance in fleet.instances()] == [""]
