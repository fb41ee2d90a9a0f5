"""The catalogue in a PostgreSQL database, which several web hosts can share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, select
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

from web_tier.catalog.database_health import Fault
from web_tier.catalog.move_mark import REFUSED_STATE, CatalogMoved

_LOCK_S = 10
_CONNECT_S = 5
_CONNECTIONS = 20
"""Limit per process: by default a server takes 100, which several hosts share."""
_MIGRATION_LOCK = 0x7461_6766_6C65_6574
"""Number of the advisory lock for migrations: `tagfleet` in ASCII."""
_OPTIONS = {
    "lock_timeout": f"{_LOCK_S}s",
    "statement_timeout": "60s",
    # A host that freezes within a transaction must not lock a batch's row for ever.
    "idle_in_transaction_session_timeout": "60s",
}


class PostgreSQL:
    """A `Kind` of database. Each of its connections goes to a server that takes writes, or is replaced.

    1. libpq refuses a standby when it connects (`target_session_attrs`), and tries the next host.
    2. Before each use, a pooled connection is asked whether its server still lives and takes writes. If not, the whole
       pool is replaced: a demoted or fenced server keeps none of the connections.
    3. An error that says the same within a transaction has the same effect; see `_discard_if_lost`.
    """

    one_writer = False

    def __init__(self, url: URL) -> None:
        self._url = url
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

    def engines(self) -> tuple[Engine, Engine]:
        engine = create_engine(
            self._url,
            hide_parameters=True,  # uploads and secrets must not get into a log
            pool_size=_CONNECTIONS // 2,
            max_overflow=_CONNECTIONS - _CONNECTIONS // 2,
            pool_timeout=_LOCK_S,
            connect_args=self.connect_args(),
        )
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "checkout", _replace_if_lost)
        event.listen(engine, "handle_error", _discard_if_lost)
        event.listen(engine, "handle_error", self._refuse_if_moved)
        event.listen(engine, "begin", _begin)
        readers = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        return readers, engine.execution_options(isolation_level="READ COMMITTED")

    def _refuse_if_moved(self, context: ExceptionContext) -> None:
        """Raise CatalogMoved for a change that the triggers of a catalogue that was moved have refused."""
        error = context.original_exception
        if _state(error) == REFUSED_STATE:
            said = error.diag.message_primary  # type: ignore[attr-defined]  # an error with an SQLSTATE is psycopg's
            raise CatalogMoved(f"catalogue {self.place}: {said}") from None

    def turn(self) -> AbstractContextManager[None]:
        """Do nothing: writers of PostgreSQL need no turns."""
        return nullcontext()

    def check_writable(self, writers: Engine) -> None:
        """Check by a SELECT FOR UPDATE, which a read-only server refuses. Raises SQLAlchemy's errors."""
        with writers.begin() as connection:
            connection.exec_driver_sql("SELECT 1 FROM batches WHERE false FOR UPDATE")  # locks no row

    @contextmanager
    def migrating(self, writers: Engine) -> Iterator[Connection]:
        with writers.begin() as connection:
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
    "55P03": f"another transaction has locked a row for {_LOCK_S} s; is a host stopped?",
    "57": "it is shutting down or starting up",
    "57014": "it cancelled a statement that took too long",
}
"""By SQLSTATE, or by its class, the first two characters."""


_SESSION_ENDED = frozenset({"57P01", "57P02", "57P03", "57P04", "57P05", "25P03"})
"""SQLSTATEs by which the server ended the session, or is about to."""
_ABORTED = "25P02"
"""SQLSTATE of a statement in a transaction that failed before."""
_FRESH = "fresh"


def _replace_if_lost(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
    """Ask a used connection, in one round trip, whether its server lives and takes writes.

    A new connection is not asked: a server that is read only as a whole can still be read.
    """
    if record.info.pop(_FRESH, False):
        return
    import psycopg

    try:
        connection.autocommit = True
        read_only = connection.execute("SHOW transaction_read_only").fetchone()[0]
        connection.autocommit = False
    except psycopg.Error as error:
        raise InvalidatePoolError(str(error)) from error
    if read_only == "on":
        raise InvalidatePoolError(_READ_ONLY)


def _discard_if_lost(context: ExceptionContext) -> None:
    """Replace a connection, and the pool with it, if an error shows that its server is of no more use."""
    if context.connection is None:
        return  # there is none: to connect failed
    state = _state(context.original_exception)
    reads = context.connection.get_execution_options().get("postgresql_readonly", False)
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
    if not connection.get_execution_options().get("durable", True):
        connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")


def _prepare(connection: Any, record: ConnectionPoolEntry) -> None:
    from psycopg.types.string import StrDumperUnknown

    record.info[_FRESH] = True

    class Text(StrDumperUnknown):
        """Replaces NUL, which PostgreSQL cannot store: one in a tag must not make a whole group of results fail."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))

    connection.adapters.register_dumper(str, Text)
