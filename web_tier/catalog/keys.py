"""Catalogue queries for API keys, and for the sessions that browsers use in place of a key."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Delete, bindparam, delete, func, insert, select, update

from core.domain.ids import new_id
from core.errors import TagfleetError
from web_tier.catalog.database import Database
from web_tier.catalog.tables import api_keys, sessions

SCOPES = ("read", "write", "operate")
KEY_PREFIX = "tf_"

_SECRET_BYTES = 32
_USED_EVERY_S = 60.0
_SESSIONS_AT_ONCE = 500


class NoSuchKey(TagfleetError):
    """The catalogue has no key of this id."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key, as the catalogue stores it. Only its holder has the secret, which was shown when the key was made."""

    id: str
    name: str
    scopes: list[str]
    created_at: float
    last_used_at: float | None
    revoked_at: float | None


_KEY = [api_keys.c[name] for name in Key.__dataclass_fields__]
_BY_FINGERPRINT = select(*_KEY, api_keys.c.fingerprint).where(
    api_keys.c.fingerprint == bindparam("wanted"), api_keys.c.revoked_at.is_(None)
)
_BY_SESSION = (
    select(*_KEY, sessions.c.fingerprint)
    .join(sessions, sessions.c.key_id == api_keys.c.id)
    .where(
        sessions.c.fingerprint == bindparam("wanted"),
        sessions.c.expires_at > bindparam("now"),
        api_keys.c.revoked_at.is_(None),
    )
)


class KeyCatalog:
    """Makes, checks and revokes keys.

    Every method is one transaction and may raise Unavailable; times are Unix seconds.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, scopes: Sequence[str], now: float) -> tuple[Key, str]:
        """Make a key; return it and its secret, which nothing else returns."""
        secret = KEY_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        kept = [scope for scope in SCOPES if scope in scopes]
        key = Key(new_id("key", now), name, kept, now, None, None)
        values = {field: getattr(key, field) for field in Key.__dataclass_fields__}
        with self._database.writing() as connection:
            connection.execute(insert(api_keys), values | {"fingerprint": compute_fingerprint(secret)})
        return key, secret

    def list_all(self) -> list[Key]:
        """Return all keys, including revoked ones, newest first."""
        return [Key(*row) for row in self._database.fetch(select(*_KEY).order_by(api_keys.c.id.desc()))]

    def any_live(self) -> bool:
        """Return whether there is a key that is not revoked."""
        query = select(func.count()).select_from(api_keys).where(api_keys.c.revoked_at.is_(None))
        return bool(self._database.fetch(query)[0][0])

    def revoke(self, key_id: str, now: float) -> None:
        """Revoke a key, and with it its sessions; a repeat changes nothing. Raises NoSuchKey."""
        with self._database.writing() as connection:
            if connection.execute(select(api_keys.c.id).where(api_keys.c.id == key_id)).one_or_none() is None:
                raise NoSuchKey(f"there is no key {key_id[:80]!r}")
            live = api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)
            connection.execute(update(api_keys).where(*live).values(revoked_at=now))
            connection.execute(_delete_some_sessions(sessions.c.key_id == key_id))  # the rest expires

    def find(self, secret: str) -> Key | None:
        """Return the key of this secret, unless it is revoked."""
        wanted = compute_fingerprint(secret)
        rows = self._database.fetch(_BY_FINGERPRINT, {"wanted": wanted})
        if not rows or not hmac.compare_digest(rows[0].fingerprint, wanted):
            return None
        return Key(*rows[0][:-1])

    def record_use(self, key: Key, now: float) -> None:
        """Record that `key` was used, once a minute at most, so that not every request writes."""
        if key.last_used_at is not None and now - key.last_used_at < _USED_EVERY_S:
            return
        with self._database.writing() as connection:
            connection.execute(update(api_keys).where(api_keys.c.id == key.id).values(last_used_at=now))

    def start_session(self, key: Key, now: float, *, lasts_s: float, instead_of: str | None = None) -> str:
        """Start a session of `key` and return its token, which nothing else returns. Ends the session `instead_of`."""
        token = secrets.token_urlsafe(_SECRET_BYTES)
        values = {
            "fingerprint": compute_fingerprint(token),
            "key_id": key.id,
            "created_at": now,
            "expires_at": now + lasts_s,
        }
        with self._database.writing() as connection:
            connection.execute(_delete_some_sessions(sessions.c.expires_at <= now))
            if instead_of is not None:
                connection.execute(delete(sessions).where(sessions.c.fingerprint == compute_fingerprint(instead_of)))
            connection.execute(insert(sessions), values)
        return token

    def find_by_session(self, token: str, now: float) -> Key | None:
        """Return the key of a session; None if the session has ended or the key is revoked."""
        wanted = compute_fingerprint(token)
        rows = self._database.fetch(_BY_SESSION, {"wanted": wanted, "now": now})
        if not rows or not hmac.compare_digest(rows[0].fingerprint, wanted):
            return None
        return Key(*rows[0][:-1])

    def end_session(self, token: str) -> None:
        """End a session, if there is one of this token."""
        with self._database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.fingerprint == compute_fingerprint(token)))


def _delete_some_sessions(which: ColumnElement[bool]) -> Delete:
    """Delete at most 500 of these sessions: other writers wait meanwhile."""
    some = select(sessions.c.fingerprint).where(which).limit(_SESSIONS_AT_ONCE)
    return delete(sessions).where(sessions.c.fingerprint.in_(some))


def compute_fingerprint(secret: str) -> str:
    """Return the hash that is stored. A secret has 256 random bits, so a salt or a slow hash would not add safety."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
