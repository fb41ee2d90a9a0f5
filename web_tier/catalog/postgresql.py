"""The catalogue in a PostgreSQL database, which several web hosts can share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

from web_tier.catalog.access import Access
from web_tier.catalog.database_health import Fault
from web_tier.catalog.move_mark import REFUSED_STATE, CatalogMoved

if TYPE_CHECKING:
    import psycopg

_LOCK_S = 10
_CONNECT_S = 5
_CONNECTIONS, _FEWEST = 20, 2
"""Limit for all web processes of a host, and the least for each: by default a server takes 100."""
_MIGRATION_LOCK = 0x7461_6766_6C65_6574
"""Number of the advisory lock for migrations: `tagfleet` in ASCII."""
_OPTIONS = {
    "lock_timeout": f"{_LOCK_S}s",
    "statement_timeout": "60s",
    # A host that freezes within a transaction must not lock a batch's row for ever.
    "idle_in_transaction_session_timeout": "60s",
}


_USE = "use"


@dataclass(slots=True)
class _Use:
    """What is known of a pooled connection."""

    asked_at: float
    taken: int = 0
    """How often the pool has handed it out."""


class _Next(threading.local):
    """What the next connection is for that this thread takes from the pool. The pool's events are not told."""

    access = Access.ONE_QUERY


_BEGIN = {
    Access.ONE_QUERY: (),
    Access.SNAPSHOT: ("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",),
    Access.WRITE: ("BEGIN ISOLATION LEVEL READ COMMITTED",),
    Access.WRITE_RELAXED: ("BEGIN ISOLATION LEVEL READ COMMITTED", "SET LOCAL synchronous_commit TO off"),
}
_ASK = "SHOW transaction_read_only"
_ASKED_EVERY_S = 1.0
"""How often a connection is asked that is used for single queries only."""


class PostgreSQL:
    """A `Kind` of database. Each of its connections goes to a server that takes writes, or is replaced.

    1. libpq refuses a standby when it connects (`target_session_attrs`), and tries the next host.
    2. A pooled connection is asked whether its server still lives and takes writes. If not, the whole pool is replaced:
       a demoted or fenced server keeps none of the connections. The question and BEGIN are one round trip.
    3. A single query has no BEGIN, and takes one round trip. Servers since version 14 report with its rows whether they
       take writes. Others, and poolers, do not, so a connection that was not asked for a second is asked before.
    4. An error that says the same within a transaction has the same effect; see `_discard_if_lost`.

    `clock` is monotonic, in seconds.
    """

    one_writer = False

    def __init__(self, url: URL, clock: Callable[[], float] = time.monotonic, processes: int = 1) -> None:
        self._url = url
        self._clock = clock
        self._connections = max(_FEWEST, _CONNECTIONS // processes)
        self._next = _Next()
        socket = {name: url.query[name] for name in ("host", "port") if name in url.query}
        self.place = url.set(drivername="postgresql", query=socket).render_as_string(hide_password=True)

    def connect_args(self) -> dict[str, Any]:
        """Return libpq's arguments: the URL's values over our defaults. Of two `-c` options the later one counts."""
        given = dict(self._url.query)
        ours = " ".join(f"-c {name}={value}" for name, value in _OPTIONS.items())
        return {
            "connect_timeout": _CONNECT_S,
            "application_name": "tagfleet",
            "keepalives_idle": 30,
            "tcp_user_timeout": 30_000,
            "target_session_attrs": "primary",
            **given,
            "options": f"{ours} {given.get('options', '')}".strip(),
        }

    @contextmanager
    def connect(self, access: Access) -> Iterator[Connection]:
        engine = self._engines[access]
        self._next.access = access
        with engine.begin() if access.writes else engine.connect() as connection:
            yield connection

    def close(self) -> None:
        self._engines[Access.WRITE].dispose()

    @cached_property
    def _engines(self) -> dict[Access, Engine]:
        """The engines for each access, over one pool of connections."""
        engine = create_engine(
            self._url,
            hide_parameters=True,  # uploads and secrets must not get into a log
            pool_size=self._connections // 2,
            max_overflow=self._connections - self._connections // 2,
            pool_timeout=_LOCK_S,
            connect_args=self.connect_args(),
        )
        event.listen(engine, "connect", self._prepare)
        event.listen(engine, "checkout", self._open)
        event.listen(engine, "begin", _begin)
        event.listen(engine, "after_cursor_execute", _check_report)
        event.listen(engine, "handle_error", _discard_if_lost)
        event.listen(engine, "handle_error", self._refuse_if_moved)
        return {access: engine.execution_options(access=access) for access in Access}

    def _prepare(self, connection: psycopg.Connection[Any], record: ConnectionPoolEntry) -> None:
        connection.autocommit = True  # `_open` and `_begin` begin transactions, not psycopg
        _replace_nul(connection)
        record.info[_USE] = _Use(self._clock())

    def _open(self, connection: psycopg.Connection[Any], record: ConnectionPoolEntry, _proxy: object) -> None:
        """Ask a used connection whether its server lives and takes writes, and begin; see the class.

        A new connection is not asked: a server that is read only as a whole can still be read.
        """
        use: _Use = record.info[_USE]
        use.taken += 1
        if use.taken == 1:
            return
        begin, now = _BEGIN[self._next.access], self._clock()
        if begin or now - use.asked_at >= _ASKED_EVERY_S:
            read_only = _ask(connection, begin)
            use.asked_at = now
        else:
            read_only = _reports_read_only(connection)
        if read_only:
            raise InvalidatePoolError(_READ_ONLY)

    def _refuse_if_moved(self, context: ExceptionContext) -> None:
        """Raise CatalogMoved for a change that the triggers of a catalogue that was moved have refused."""
        error = context.original_exception
        if _state(error) == REFUSED_STATE:
            said = error.diag.message_primary  # type: ignore[attr-defined]  # an error with an SQLSTATE is psycopg's
            raise CatalogMoved(f"catalogue {self.place}: {said}") from None

    def turn(self) -> AbstractContextManager[None]:
        """Do nothing: writers of PostgreSQL need no turns."""
        return nullcontext()

    def check_writable(self) -> None:
        """Check by a SELECT FOR UPDATE, which a read-only server refuses. Raises SQLAlchemy's errors."""
        with self.connect(Access.WRITE) as connection:
            connection.exec_driver_sql("SELECT 1 FROM batches WHERE false FOR UPDATE")  # locks no row

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        with self.connect(Access.WRITE) as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            yield connection

    def advice(self, error: BaseException | None) -> str:
        state = _state(error)
        lines = (" ".join(line.split()) for line in str(error).splitlines())  # one for each of several hosts
        message = "; ".join(line.lstrip("- ") for line in lines if line)[:_MOST_SHOWN].rstrip(".")
        if not state and message.startswith(_BROKEN_BY_PSYCOPG):
            state = "08"
        return _ADVICE.get(state) or _ADVICE.get(state[:2]) or f"PostgreSQL says: {message}"

    def fault(self, error: BaseException | None) -> Fault:
        import psycopg

        state = _state(error)
        if state == _READ_ONLY_STATE:
            return Fault.READ_ONLY
        if not state:
            own = (psycopg.DataError, psycopg.ProgrammingError, psycopg.NotSupportedError)
            return Fault.REFUSED if isinstance(error, own) else Fault.LOST
        return Fault.LOST if _ends_session(state) else Fault.REFUSED


def _state(error: BaseException | None) -> str:
    """Return the SQLSTATE, or "" for an error of libpq. libpq's refusal of a standby counts as read only."""
    state = getattr(error, "sqlstate", None) or ""
    return _READ_ONLY_STATE if not state and any(said in str(error) for said in _STANDBY_BY_LIBPQ) else state


def _ends_session(state: str) -> bool:
    return state.startswith("08") or state in _SESSION_ENDED


_READ_ONLY_STATE = "25006"
_READ_ONLY = (
    "it is read only: a standby, or set to read only. The next request connects anew; if this persists, "
    "name the primary, or all servers, in the setting web.catalog_url"
)
_STANDBY_BY_LIBPQ = ("hot standby mode", "session is read-only")
_BROKEN_BY_PSYCOPG = ("consuming input failed", "sending query", "sending prepared query", "the connection is")
_MOST_SHOWN = 500
_ADVICE = {
    "08": "the connection to it broke",
    _READ_ONLY_STATE: _READ_ONLY,
    "25P03": "it ended a transaction that was idle for a minute; was this host stopped?",
    "28": "it rejects this user or password; check the setting web.catalog_url, and the server's pg_hba.conf",
    "3D000": "there is no such database; make it with: CREATE DATABASE … OWNER … ENCODING 'UTF8'",
    "40": "two transactions conflicted",
    "42501": "this user may not do that; it must own the database's tables",
    "53100": "its disk is full; free some space, what was accepted is kept",
    "53300": "it has no connection free; raise its max_connections",
    "55P03": f"another transaction has locked a row for {_LOCK_S} s; is a host stopped, or the catalogue being moved?",
    "57": "it is shutting down or starting up",
    "57014": "it cancelled a statement that took too long",
}
"""By SQLSTATE, or by its class, the first two characters."""


_SESSION_ENDED = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05", "25P03"})
"""SQLSTATEs by which the server ended the session, or is about to."""
_ABORTED = "25P02"
"""SQLSTATE of a statement in a transaction that failed before."""


def _ask(connection: psycopg.Connection[Any], begin: Sequence[str]) -> bool:
    """Return whether the server is read only, and begin, in one round trip."""
    import psycopg

    try:
        answer = connection.execute("; ".join((_ASK, *begin)), prepare=False).fetchone()
    except psycopg.Error as error:
        raise InvalidatePoolError(str(error)) from error
    return answer == ("on",)


def _reports_read_only(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the server has reported that it is a standby or set to read only."""
    return "on" in map(connection.info.parameter_status, ("in_hot_standby", "default_transaction_read_only"))


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    return connection.connection.driver_connection  # type: ignore[return-value]  # None only once it is closed


def _check_report(connection: Connection, *_statement: object) -> None:
    """Reject the rows of a single query if their server reports with them that it takes no writes."""
    from psycopg.errors import ReadOnlySqlTransaction

    is_single = connection.get_execution_options()["access"] is Access.ONE_QUERY
    if is_single and connection.info[_USE].taken > 1 and _reports_read_only(_driver(connection)):
        raise ReadOnlySqlTransaction(_READ_ONLY)


def _discard_if_lost(context: ExceptionContext) -> None:
    """Replace a connection, and the pool with it, if an error shows that its server is of no more use."""
    if context.connection is None:
        return  # there is none: to connect failed
    state = _state(context.original_exception)
    reads = context.connection.get_execution_options().get("access") is Access.SNAPSHOT
    if state == _ABORTED:
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False
    elif _ends_session(state) or (state == _READ_ONLY_STATE and not reads):
        context.is_disconnect = True
    elif _in_standby(context.connection):
        context.is_disconnect = True  # whatever the error: during recovery a server cannot lock or write


def _in_standby(connection: Connection) -> bool:
    """Return whether the server said so in its last answer; servers before version 14 do not."""
    if connection.closed or connection.invalidated:
        return False
    used = connection.connection.dbapi_connection
    return used is not None and not used.closed and used.info.parameter_status("in_hot_standby") == "on"


def _begin(connection: Connection) -> None:
    """Begin on a new connection; on others `PostgreSQL._open` has begun."""
    from psycopg.pq import TransactionStatus

    if _driver(connection).info.transaction_status == TransactionStatus.IDLE:
        for statement in _BEGIN[connection.get_execution_options()["access"]]:
            connection.exec_driver_sql(statement)


def _replace_nul(connection: psycopg.Connection[Any]) -> None:
    from psycopg.types.string import StrDumperUnknown

    class Text(StrDumperUnknown):
        """Replaces NUL, which PostgreSQL cannot store: one in a tag must not make a whole group of results fail."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))

    connection.adapters.register_dumper(str, Text)
