"""Threads of a stage: as many as asked for, and none is stopped in its work."""

from __future__ import annotations

import queue
import threading

from app_tier.pipeline.crew import Crew
from bench.deployment import wait_until


class Stage:
    """Work that ends when it is told to, one piece at a time."""

    def __init__(self, size: int) -> None:
        self.pieces: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.crew = Crew("stage", self._work, lambda loop: loop(), size)
        self._lock = threading.Lock()
        self.waiting = 0

    def _work(self) -> bool:
        with self._lock:
            self.waiting += 1
        more = self.pieces.get()
        with self._lock:
            self.waiting -= 1
        return more

    def end(self, threads: int) -> None:
        for _ in range(threads):
            self.pieces.put(False)
        self.crew.join()
        assert self.waiting == 0


def test_more_threads_start_at_once_and_fewer_after_their_work() -> None:
    stage = Stage(1)
    stage.crew.start()
    wait_until(lambda: stage.waiting == 1)
    stage.crew.resize(5)
    wait_until(lambda: stage.waiting == 5)
    stage.crew.resize(2)
    assert stage.waiting == 5
    for _ in range(3):
        stage.pieces.put(True)
    wait_until(lambda: stage.waiting == 2)
    stage.pieces.put(True)
    wait_until(lambda: stage.waiting == 2)
    stage.end(2)


def test_before_its_start_a_crew_only_notes_its_size() -> None:
    stage = Stage(1)
    stage.crew.resize(3)
    assert (stage.crew.size, stage.waiting) == (3, 0)
    stage.crew.start()
    wait_until(lambda: stage.waiting == 3)
    stage.end(3)


def test_once_the_work_has_ended_no_thread_starts() -> None:
    stage = Stage(2)
    stage.crew.start()
    stage.end(2)
    stage.crew.resize(10)
    stage.crew.join()
    assert stage.waiting == 0
