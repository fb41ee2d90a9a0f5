"""The threads of one stage, whose number may change while they work."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Crew:
    """Threads that call `work` again and again until it returns False, or until there are more of them than `size`.

    `run` is what each thread executes, with its loop as the argument: it keeps the loop's error. Safe for several
    threads.
    """

    def __init__(
        self, name: str, work: Callable[[], bool], run: Callable[[Callable[[], None]], None], size: int
    ) -> None:
        self._name = name
        self._work = work
        self._run = run
        self._size = size
        self._alive: set[threading.Thread] = set()
        self._started = False
        self._ending = False
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """How many threads there should be."""
        return self._size

    def start(self) -> None:
        """Start the threads."""
        with self._lock:
            self._started = True
            self._fill()

    def resize(self, size: int) -> None:
        """Let there be `size` threads: new ones start now, surplus ones end after their present work."""
        if size == self._size:
            return
        with self._lock:
            self._size = size
            self._fill()

    def join(self) -> None:
        """Wait until all threads have ended. `work` must return False from now on."""
        with self._lock:
            self._ending = True
            alive = list(self._alive)
        for thread in alive:
            thread.join()

    def _fill(self) -> None:
        while self._started and not self._ending and len(self._alive) < self._size:
            thread = threading.Thread(target=self._run, args=(self._loop,), name=self._name, daemon=True)
            self._alive.add(thread)
            thread.start()

    def _loop(self) -> None:
        while self._work():
            if len(self._alive) > self._size and self._leave_if_surplus():
                return
        self._end()

    def _leave_if_surplus(self) -> bool:
        with self._lock:
            surplus = len(self._alive) > self._size
            if surplus:
                self._alive.discard(threading.current_thread())
            return surplus

    def _end(self) -> None:
        with self._lock:
            self._ending = True
            self._alive.discard(threading.current_thread())
