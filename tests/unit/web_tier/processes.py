"""Web tiers as processes of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from config import settings as config
from config.settings import Settings


def wait_for(condition: Callable[[], object], process: subprocess.Popen | None = None) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        assert process is None or process.poll() is None, process.stderr.read()
        time.sleep(0.02)


@dataclass
class Served:
    process: subprocess.Popen
    said: list[str] = field(default_factory=list)
    """Lines of its log."""

    @property
    def url(self) -> str:
        found = re.search(r"http://[][0-9a-f.:]+:[0-9]+", "".join(self.said))
        return found.group() if found else ""

    def _read(self) -> None:
        for line in self.process.stderr:
            self.said.append(line)


@contextmanager
def served(settings: Settings, command: Sequence[str] = (sys.executable, "-m", "tagfleet", "web")) -> Iterator[Served]:
    """A web tier that listens on a port of its own choice, until the block ends."""
    process = subprocess.Popen(
        command,
        env=os.environ | config.as_environment(settings),
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    found = Served(process)
    reader = threading.Thread(target=found._read)
    reader.start()
    try:
        wait_for(lambda: found.url or process.poll() is not None)
        assert process.poll() is None, "".join(found.said)
        yield found
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()
