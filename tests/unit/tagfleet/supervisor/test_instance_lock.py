from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from tagfleet.supervisor.instance_lock import CannotStart, find_free_port, instance_lock, write_owner

HOLDER = (
    "import sys, time, pathlib\n"
    "from tagfleet.supervisor.instance_lock import instance_lock, write_owner\n"
    "home = pathlib.Path(sys.argv[1])\n"
    "with instance_lock(home):\n"
    "    write_owner(home, 'http://127.0.0.1:8000'); print('held', flush=True); time.sleep(60)\n"
)


def test_a_home_has_one_owner_who_is_named(tmp_path):
    home = tmp_path / "deep" / "home"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(home)], stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(CannotStart, match=rf"runs already for {home}: process {holder.pid}, http://127.0.0.1:8000"),
            instance_lock(home),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
    with instance_lock(home) as left_behind:
        assert left_behind
        write_owner(home, "http://127.0.0.1:8001")
    with instance_lock(home) as left_behind:
        assert not left_behind


def test_a_home_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(CannotStart, match=r"cannot use .*file/home \(setting home\)"),
        instance_lock(tmp_path / "file/home"),
    ):
        pass


def test_the_port_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"port {port} of 127.0.0.1 is taken .* --port or TAGFLEET_PORT"):
            find_free_port("127.0.0.1", port, patience_s=0)
    assert find_free_port("127.0.0.1", port, patience_s=60) == port
    assert find_free_port("127.0.0.1", 0, patience_s=0) > 0


def test_a_port_that_is_being_left_is_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = "import sys, time; sys.stdin.read()"
        leaving = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, pass_fds=(server.fileno(),))
        os.set_blocking(server.fileno(), False)
    with leaving:
        assert leaving.stdin
        leaving.stdin.close()
        assert find_free_port("127.0.0.1", port, patience_s=60) == port
