"""The catalogue in a PostgreSQL database: several web hosts share it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, select

_LOCK_S = 10
_CONNECT_S = 5
_CONNECTIONS = 20
"""Of one process at most: a server takes 100 unless it is told otherwise, and several hosts share them."""
_MIGRATION_LOCK = 0x7461_6766_6C65_6574
"""The number, `tagfleet` in ASCII, by which those who migrate exclude each other."""
_OPTIONS = {
    "lock_timeout": f"{_LOCK_S}s",
    "statement_timeout": "60s",
    # A host that freezes within a transaction must not hold a batch's row against the others for ever.
    "idle_in_transaction_session_timeout": "60s",
}


class PostgreSQL:
    def __init__(self, url: URL) -> None:
        self._url = url
        self.place = url.set(drivername="postgresql").render_as_string(hide_password=True)

    def engines(self) -> tuple[Engine, Engine]:
        engine = create_engine(
            self._url,
            hide_parameters=True,  # what people upload, and secrets, have no place in a log
            pool_size=_CONNECTIONS // 2,
            max_overflow=_CONNECTIONS - _CONNECTIONS // 2,
            pool_timeout=_LOCK_S,
            pool_pre_ping=True,  # after a restart of the server no request meets a connection to the old one
            connect_args={
                "connect_timeout": _CONNECT_S,
                "application_name": "tagfleet",
                "options": " ".join(f"-c {name}={value}" for name, value in _OPTIONS.items()),
                "keepalives_idle": 30,
                "tcp_user_timeout": 30_000,
                **self._url.query,
            },
        )
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        readers = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        return readers, engine.execution_options(isolation_level="READ COMMITTED")

    def turn(self) -> AbstractContextManager[None]:
        return nullcontext()

    @contextmanager
    def migrating(self, writers: Engine) -> Iterator[Connection]:
        with writers.begin() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            yield connection

    def advice(self, error: BaseException | None) -> str:
        state = getattr(error, "sqlstate", None) or ""
        said = str(error).partition("\n")[0]
        return _ADVICE.get(state) or _ADVICE.get(state[:2]) or f"PostgreSQL says: {said}"


_ADVICE = {
    "08": "the connection to it broke",
    "25006": "it is a standby, or set to read only; name the primary in the setting web.catalog_url",
    "28": "it refuses this user or password; check the setting web.catalog_url, and the server's pg_hba.conf",
    "3D000": "there is no such database; make it with: CREATE DATABASE … OWNER … ENCODING 'UTF8'",
    "40": "two transactions got in each other's way",
    "42501": "this user may not do that; it must own the database's tables",
    "53100": "its disk is full; free some space, what was accepted is kept",
    "53300": "it has no connection free; raise its max_connections",
    "55P03": f"another transaction has kept a row locked for {_LOCK_S} s; is a host stopped?",
    "57": "it shuts down or starts up, or ended a statement that took too long",
}
"""By SQLSTATE, or the class that is its first two letters."""


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get("durable", True):
        connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")


def _prepare(connection: Any, _record: object) -> None:
    from psycopg.types.string import StrDumperUnknown

    class Text(StrDumperUnknown):
        """PostgreSQL's text has no NUL: one in a tag or an address must not refuse all that comes with it."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))

    connection.adapters.register_dumper(str, Text)
