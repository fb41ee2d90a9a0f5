"""The child process that decodes: light, limited, started without the current folder, and honest about its end."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.deployment import wait_until
from core.errors import BadImage
from core.imaging.decode import DecodeBudget, Decoder
from core.imaging.sandbox import Failed, Sandbox
from tests.pictures import huge_png, photo, saved, scan_bomb, tiff

FAKE = """
import os, sys, time
from core.imaging.sandbox import ANSWER, REQUEST
source, sink = sys.stdin.buffer, sys.stdout.buffer
while head := source.read(REQUEST.size):
    wanted, side, size = REQUEST.unpack(head)
    data = source.read(size)
    if data == b"crash": os.abort()
    if data == b"exit": os._exit(3)
    if data == b"hang": time.sleep(600)
    if data == b"killed": os.kill(os.getpid(), 9)
    if data == b"ended": os.kill(os.getpid(), 15)
    status = 2 if data == b"memory" else 0
    sink.write(ANSWER.pack(status, 1, 1, 1, 1, len(data)) + data)
    sink.flush()
"""
COMMAND = (sys.executable, "-P", "-c", FAKE)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(300, 120)
    yield sandbox
    sandbox.close()


def test_it_decodes_as_the_decoder_does(sandbox: Sandbox) -> None:
    deep = tiff(np.linspace(0, 1, 6000, dtype=np.float32).reshape(60, 100))
    for data in (saved(photo(), "JPEG"), saved(photo(90, 70), "PNG"), deep):
        assert sandbox.pixels(data, 64).tobytes() == Decoder(64, DecodeBudget(300)).decode(data).tobytes()


def test_thumbnails_are_small_jpegs(sandbox: Sandbox) -> None:
    with Image.open(BytesIO(sandbox.thumbnail(saved(photo(), "JPEG"), 256))) as image:
        assert (image.format, image.size) == ("JPEG", (256, 192))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "the file is empty"),
        (b"text", "not an image"),
        (huge_png(30_000, 30_000), "too large"),
        (scan_bomb(8000, 900), "too slow"),
    ],
)
def test_refusals_come_as_sentences(sandbox: Sandbox, data: bytes, why: str) -> None:
    for ask in (sandbox.pixels, sandbox.thumbnail):
        with pytest.raises(BadImage, match=why):
            ask(data, 64)
    assert sandbox.pixels(saved(photo(), "JPEG"), 64).mode == "RGB"


@pytest.mark.parametrize(
    ("data", "lasting", "why"),
    [
        (b"crash", True, "crashed the decoder"),
        (b"exit", True, "crashed the decoder"),
        (b"killed", False, "crashed the decoder"),  # by the kernel for lack of memory, or by an operator
        (b"ended", False, "crashed the decoder"),
        (b"memory", False, "more memory than there is"),
    ],
)
def test_the_end_of_the_child_says_whether_it_was_the_image(data: bytes, lasting: bool, why: str) -> None:
    sandbox = Sandbox(300, 120, command=COMMAND)
    with pytest.raises(Failed, match=why) as failure:
        sandbox.thumbnail(data, 64)
    assert failure.value.lasting is lasting
    assert sandbox.thumbnail(b"fine", 64) == b"fine"  # by a new child, where the first is gone
    sandbox.close()


def test_a_hang_is_ended_and_is_the_images_doing() -> None:
    sandbox = Sandbox(300, 2, command=COMMAND)
    with pytest.raises(Failed, match="took longer than 2 s") as failure:
        sandbox.thumbnail(b"hang", 64)
    assert failure.value.lasting
    assert sandbox._child is None


def test_a_decode_that_is_closed_under_way_says_nothing_of_its_image() -> None:
    sandbox = Sandbox(300, 120, command=COMMAND)
    assert sandbox.thumbnail(b"fine", 64) == b"fine"
    failures: list[Failed] = []

    def ask() -> None:
        try:
            sandbox.thumbnail(b"hang", 64)
        except Failed as error:
            failures.append(error)

    child = sandbox._child
    assert child is not None
    assert child.stdin is not None
    pipe = child.stdin.fileno()
    os.kill(child.pid, signal.SIGSTOP)  # so that what it is given stays in the pipe, and can be seen there
    stat = Path(f"/proc/{child.pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(lambda: any(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4))))
    sandbox.close()
    asking.join(60)
    assert [failure.lasting for failure in failures] == [False]


def test_a_file_in_the_current_folder_stands_in_for_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can write into the folder where a server is started could have run code as its user."""
    marker = tmp_path / "executed"
    for name in ("select.py", "struct.py", "io.py", "PIL.py", "core.py", "numpy.py"):
        (tmp_path / name).write_text(f"open({str(marker)!r}, 'w').close()\nraise ImportError('planted')\n")
    monkeypatch.chdir(tmp_path)
    sandbox = Sandbox(300, 120)
    assert sandbox.pixels(saved(photo(), "JPEG"), 64).mode == "RGB"
    sandbox.close()
    assert not marker.exists()


def test_memory_beyond_the_limit_is_refused_within_the_child() -> None:
    """An estimate may be too low: the child cannot take more than it is given."""
    code = (
        "from core.imaging import sandbox\n"
        "sandbox._limit(100, 0)\n"
        "try: bytearray(3 << 30)\n"
        "except MemoryError: print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"


def test_it_is_light(tmp_path: Path) -> None:
    """The web tier starts one: neither arrays nor networks are loaded for ordinary photos."""
    code = (
        "import sys\n"
        "from core.imaging import sandbox\n"
        "from core.imaging.decode import DecodeBudget, Decoder\n"
        "Decoder(64, DecodeBudget(100)).show(open(sys.argv[1], 'rb').read())\n"
        "print([name for name in ('numpy', 'torch', 'pydantic', 'flask', 'simplejpeg') if name in sys.modules])\n"
    )
    path = tmp_path / "photo.jpg"
    path.write_bytes(saved(photo(), "JPEG"))
    done = subprocess.run([sys.executable, "-P", "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_it_ends_when_its_parent_does() -> None:
    code = (
        "from core.imaging.sandbox import Sandbox\n"
        "import os, sys\n"
        "sandbox = Sandbox(100, 60)\n"
        "try: sandbox.pixels(b'', 8)\n"
        "except Exception: pass\n"
        "print(sandbox._child.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    wait_until(lambda: is_gone(int(done.stdout)))


def test_it_ends_when_its_parent_does_even_in_a_decode_that_hangs() -> None:
    code = (
        "from core.imaging.sandbox import Sandbox\n"
        "import os, sys, threading, time\n"
        "sandbox = Sandbox(100, 600)\n"
        "data = sys.stdin.buffer.read()\n"
        "threading.Thread(target=sandbox.pixels, args=(data, 8), daemon=True).start()\n"
        "while sandbox._child is None or not os.path.exists(sys.argv[1]): time.sleep(0.01)\n"
        "print(sandbox._child.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        begun = Path(folder) / "begun"
        (Path(folder) / "sitecustomize.py").write_text(
            "import sys, time\n"
            "if 'core.imaging.sandbox' in sys.orig_argv:\n"
            "    from PIL import Image\n"
            "    def hang(*arguments, **options):\n"
            f"        open({str(begun)!r}, 'w').close()\n"
            "        time.sleep(600)\n"
            "    Image.open = hang\n"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, str(begun)],
            input=saved(photo(), "JPEG"),
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            check=True,
        )
        wait_until(lambda: is_gone(int(done.stdout)), 60)


def is_gone(pid: int) -> bool:
    """Whether no process has the id, or one that is only waited for."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return True


def test_sizes_come_from_the_header_alone(sandbox: Sandbox) -> None:
    whole = saved(photo(400, 240), "PNG")
    assert sandbox.size(whole) == sandbox.size(whole[: len(whole) // 2]) == (400, 240)
    assert sandbox.size(b"text") is None
    assert sandbox.size(b"") is None


def test_a_size_that_crashes_the_child_is_a_failure() -> None:
    sandbox = Sandbox(300, 120, command=COMMAND)
    with pytest.raises(Failed, match="crashed the decoder"):
        sandbox.size(b"crash")
    sandbox.close()
