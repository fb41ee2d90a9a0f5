"""Logging for every process: one line an event, for people on a terminal or as JSON for machines."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal, cast

import structlog


def configure(process: str, *, level: str = "info", format: Literal["console", "json"] = "console") -> None:
    """Send this process's log to stderr; called once, by a process's main."""
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
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    bind(process=process)
    logging.basicConfig(stream=sys.stderr, level=max(number, logging.WARNING), format="%(name)s: %(message)s")


_ids: dict[str, str] = {}  # of the process: context variables would not reach its threads


def bind(**ids: str) -> None:
    """Add ids (worker, batch) to every line that this process logs from now on."""
    _ids.update(ids)


def bind_here(**ids: str) -> None:
    """Add ids (request_id) to every line that this thread logs, in place of those before; none ends it."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**ids)


def logger() -> structlog.typing.FilteringBoundLogger:
    return cast(structlog.typing.FilteringBoundLogger, structlog.get_logger())


def _add_ids(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {**event, **_ids}


def _for_people() -> Any:
    """Tracebacks without the values of local variables: those hold what people uploaded."""
    return structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)


def _pass(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event
