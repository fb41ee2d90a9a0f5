"""The decode stage: threads that decode in this process, or each in a child process of its own once that is wiser.

1. Decoding here is fast, and a file that crashes or hangs the decoder takes the whole process with it. In a child it
   costs the child, and about 2.5 ms more an image.
2. So an image's first delivery is decoded here, and every later one in a child: whatever ended the worker that had it
   before will not end this one. While this worker holds an innocent image that came back, while a decode here hangs,
   and for a while after a predecessor died in a decoder, all images are decoded in children.
3. A decode here that takes longer than a tenth of `decode_timeout_s` is overtaken: another thread takes the place of
   its own, and tries the image in a child. The thread can't be stopped, so a decode that goes on until
   `decode_timeout_s` ends the process, after the others in hand are done.
4. A child that crashes, or takes longer than that tenth, makes its image a suspect, and only that one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from queue import Queue

from PIL import Image

from app_tier.pipeline.crash_record import Ledger
from app_tier.pipeline.in_flight import Held
from app_tier.pipeline.isolation import IsolatedDecoder, longest_expected_s
from app_tier.pipeline.item import Turn, Work
from app_tier.taggers import Tagger
from config.settings import WorkerSettings
from core import telemetry
from core.domain.messages import log_ids
from core.errors import BadImage, DecoderLost
from core.imaging.decode import UPRIGHT_SIZE, DecodeBudget, Decoder

_FIRST_SHARE = 0.1
"""Of `decode_timeout_s`: what an image may take before others stop waiting behind it."""
_FIRST_S = 1.0
"""And at least so long, for a machine with much to do."""
_CAREFUL_S = 300.0
_IDLE_S = 60.0
_JOIN_S = 0.5
_WARM_TRIES = 3
_WARM_UP = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)


class Decoding:
    """Threads that take work from `inlet`, and hand it to `decoded` with its problem, or to `suspect`.

    `began` says whether work is to be begun at all (a draining worker gives it back); `guarded` runs a thread's body.
    """

    def __init__(
        self,
        inlet: Queue[Work | None],
        settings: WorkerSettings,
        held: Held,
        ledger: Ledger,
        *,
        tagger: Callable[[], Tagger],
        began: Callable[[Work], bool],
        decoded: Callable[[Work, str], None],
        suspect: Callable[[Work], None],
        guarded: Callable[[Callable[[], None]], None],
    ) -> None:
        self._inlet = inlet
        self._settings = settings
        self._held = held
        self._ledger = ledger
        self._tagger = tagger
        self._began = began
        self._done = decoded
        self._suspect = suspect
        self._guarded = guarded
        self._first_s = min(settings.decode_timeout_s, max(_FIRST_S, settings.decode_timeout_s * _FIRST_SHARE))
        self._budget = DecodeBudget(settings.decode_memory_mb, longest_expected_s(settings.decode_timeout_s))
        self._careful_until = 0.0
        self._turns: dict[int, Turn] = {}  # by thread: what this process itself decodes or prepares
        self._changing = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, predecessor_decoded: Collection[str] = ()) -> None:
        """`predecessor_decoded`: what a process that died on this machine had in its decoders."""
        if predecessor_decoded:
            self._careful_until = time.monotonic() + _CAREFUL_S
            telemetry.logger().warning(
                "a worker ended while it decoded: for a while all images are decoded in processes of their own",
                images=sorted(predecessor_decoded),
                for_s=_CAREFUL_S,
            )
        for _ in range(self._settings.decode_threads):
            self._begin()

    def join(self) -> None:
        """Wait for the threads to end; one that hangs is left behind."""
        for thread in self._threads:
            while thread.is_alive() and thread.ident not in self._turns:
                thread.join(_JOIN_S)

    def hung_for(self) -> float:
        """Seconds that the slowest decode in this process has taken so far."""
        started = [turn.started for turn in list(self._turns.values())]
        return time.monotonic() - min(started) if started else 0.0

    def overtake(self) -> None:
        """Let others go on where a decode here takes too long. To be called every second or so."""
        now = time.monotonic()
        with self._changing:
            slow = [
                turn
                for turn in self._turns.values()
                if turn.data and now - turn.started > self._first_s and not turn.overtaken
            ]
            for turn in slow:
                turn.overtaken = True
        for turn in slow:
            telemetry.logger().warning("a decode takes long: tried in a process of its own", **log_ids(turn.work.job))
            self._begin(turn.work.again(turn))

    def _begin(self, first: Work | None = None) -> None:
        thread = threading.Thread(target=self._guarded, args=(lambda: self._run(first),), name="decode", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, first: Work | None) -> None:
        child = WarmChild(self._settings, self._first_s)
        try:
            if first is not None:
                self._in_child(first, child)
            while (work := self._inlet.get()) is not None:
                if not self._began(work):
                    continue
                if self._is_careful(work):
                    self._in_child(work, child)
                else:
                    child.rest()
                    if not self._here(work):
                        return
        finally:
            child.close()

    def _is_careful(self, work: Work) -> bool:
        receives = self._settings.isolate_receive
        return (
            work.delivery.receive_count >= receives
            or time.monotonic() < self._careful_until
            or any(turn.overtaken for turn in list(self._turns.values()))
            or self._held.holds_returned(receives)
        )

    def _here(self, work: Work) -> bool:
        """Decode in this process. False where another thread has taken this one's place meanwhile."""
        with self._turn(work, work.data) as turn, self._ledger.decoding(work.job.image_id):
            problem = self._by_itself(work)
        if turn.claim():  # after the turn: waiting for a slow tagger is no hanging
            self._done(work, problem)
        return not turn.overtaken

    def _by_itself(self, work: Work) -> str:
        started = time.perf_counter()
        tagger = work.tagger = self._tagger()
        try:
            image = Decoder(tagger.side, self._budget).decode(work.data)
            work.frame = tagger.preprocess(image)
        except BadImage as error:
            return str(error)
        work.size = image.info[UPRIGHT_SIZE]
        work.data = b""
        work.took("decode", started)
        return ""

    def _in_child(self, work: Work, child: WarmChild) -> None:
        try:
            problem = self.by_child(work, child)
        except DecoderLost:
            self._suspect(work)
            return
        if work.claim():
            self._done(work, problem)

    def by_child(self, work: Work, child: WarmChild) -> str:
        """Decode in a child process: the image's problem, or empty once it has its frame. Raises DecoderLost."""
        started = time.perf_counter()
        tagger = work.tagger = self._tagger()
        try:
            image = child.decode(work.data, tagger.side)
        except DecoderLost:
            raise
        except BadImage as error:
            return str(error)
        work.size = image.info.get(UPRIGHT_SIZE)
        with self._turn(work), self._ledger.decoding(work.job.image_id):
            work.frame = tagger.preprocess(image)
        work.data = b""
        work.took("decode", started)
        return ""

    @contextmanager
    def _turn(self, work: Work, data: bytes = b"") -> Iterator[Turn]:
        """Watched for as long as it lasts; with `data` it is overtaken when it takes long."""
        turn, me = Turn(work, data, time.monotonic()), threading.get_ident()
        with self._changing:
            self._turns[me] = turn
        try:
            yield turn
        finally:
            with self._changing:
                del self._turns[me]


class WarmChild:
    """A decoding child whose time limit does not count its own start."""

    def __init__(self, settings: WorkerSettings, timeout_s: float) -> None:
        expected_s = longest_expected_s(settings.decode_timeout_s)  # by the header, as for decodes in this process
        self._child = IsolatedDecoder(settings.decode_memory_mb, timeout_s, expected_s)
        self._is_warm = False
        self._used = 0.0

    def decode(self, data: bytes, side: int) -> Image.Image:
        """Raises BadImage, DecoderLost."""
        self._used = time.monotonic()
        for _ in range(0 if self._is_warm else _WARM_TRIES):
            try:
                self._child.decode(_WARM_UP, side)
                break
            except DecoderLost:  # a busy machine: it is given its time limit again
                continue
            except BadImage:  # whatever it thinks of so small a picture, it is there
                break
        self._is_warm = True
        try:
            return self._child.decode(data, side)
        except DecoderLost:
            self._is_warm = False
            raise

    def rest(self) -> None:
        """End a child that has had nothing to do for a while."""
        if self._is_warm and time.monotonic() - self._used > _IDLE_S:
            self.close()

    def close(self) -> None:
        self._child.close()
        self._is_warm = False
