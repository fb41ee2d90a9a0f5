"""Logging for every process: one line per event, for people on a terminal or as JSON for machines.

Logging never raises and never ends a process: a line that cannot be written is dropped and counted
(`core.logs.log_stream`).
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal, TextIO, cast

import structlog

from core.logs.log_stream import LogStream, never_failing


def configure(process: str, *, level: str = "info", format: Literal["console", "json"] = "console") -> None:
    """Send this process's log to stderr. A process's main calls it once.

    From then on `sys.stderr` never fails for any writer: our log, Python's own, warnings, tracebacks.
    """
    sys.stderr = cast(TextIO, never_failing(sys.stderr))
    number = logging.getLevelNamesMapping()[level.upper()]
    json = format == "json"
    renderer: Any = structlog.processors.JSONRenderer() if json else _for_people()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_ids,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if json else _pass,
            _Rendering(renderer),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _Lines(sys.stderr),
        cache_logger_on_first_use=True,
    )
    bind(process=process)
    logging.basicConfig(stream=sys.stderr, level=max(number, logging.WARNING), format="%(name)s: %(message)s")


_ids: dict[str, str] = {}  # of the process: context variables would not reach its threads


def bind(**ids: str) -> None:
    """Add ids (worker, batch) to every line that this process logs from now on."""
    _ids.update(ids)


def lines_dropped() -> int:
    """Return how many lines of this process's log have been lost since its start."""
    written = sys.stderr.dropped if isinstance(sys.stderr, LogStream) else 0
    return written + _Rendering.failed


def bind_here(**ids: str) -> None:
    """Add ids (request_id) to every line that this thread logs, in place of earlier ones; none removes them."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**ids)


def logger() -> structlog.typing.FilteringBoundLogger:
    return cast(structlog.typing.FilteringBoundLogger, structlog.get_logger())


class _Lines:
    """Writes each line and its line end in one call, so that lines of several threads and processes do not mix."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()

    log = debug = info = warn = warning = error = err = critical = fatal = failure = exception = msg


class _Rendering:
    """Renders the line. An event that cannot be rendered (a value whose `repr` raises) is dropped and counted."""

    failed = 0

    def __init__(self, renderer: Any) -> None:
        self._renderer = renderer

    def __call__(self, logger: Any, method: str, event: structlog.typing.EventDict) -> Any:
        try:
            return self._renderer(logger, method, event)
        except Exception:  # noqa: BLE001  # whatever a foreign `repr` raises
            _Rendering.failed += 1
            raise structlog.DropEvent from None


def _add_ids(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {**event, **_ids}


def _for_people() -> Any:
    """Return a renderer that shows tracebacks without local variables, which hold people's uploads."""
    return structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)


def _pass(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event
