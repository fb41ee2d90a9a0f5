"""The catalogue's keys, and the sessions that browsers hold in their place."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Delete, delete, func, insert, select, update

from core.domain.ids import new_id
from core.errors import TagfleetError
from web_tier.catalog.access_tables import api_keys, sessions
from web_tier.catalog.database import Database

SCOPES = ("read", "write", "operate")
KEY_PREFIX = "tf_"

_SECRET_BYTES = 32
_USED_EVERY_S = 60.0
_SESSIONS_AT_ONCE = 500


class NoSuchKey(TagfleetError):
    """The catalogue has no key of this id."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key; the key itself was shown when it was made, and is kept by nobody but its holder."""

    id: str
    name: str
    scopes: list[str]
    created_at: float
    last_used_at: float | None
    revoked_at: float | None


_KEY = [api_keys.c[name] for name in Key.__dataclass_fields__]


class KeyCatalog:
    """Every method is one transaction and may raise Unavailable; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, scopes: Sequence[str], now: float) -> tuple[Key, str]:
        """A new key, and the secret that is told only here."""
        secret = KEY_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        kept = [scope for scope in SCOPES if scope in scopes]
        key = Key(new_id("key", now), name, kept, now, None, None)
        values = {field: getattr(key, field) for field in Key.__dataclass_fields__}
        with self._database.writing() as connection:
            connection.execute(insert(api_keys), values | {"fingerprint": fingerprint(secret)})
        return key, secret

    def listed(self) -> list[Key]:
        """All of them, revoked ones too, the newest first."""
        with self._database.reading() as connection:
            return [Key(*row) for row in connection.execute(select(*_KEY).order_by(api_keys.c.id.desc()))]

    def any_live(self) -> bool:
        """Whether anybody could sign in at all."""
        query = select(func.count()).select_from(api_keys).where(api_keys.c.revoked_at.is_(None))
        with self._database.reading() as connection:
            return bool(connection.execute(query).scalar_one())

    def revoke(self, key_id: str, now: float) -> None:
        """From now on neither the key nor a session of it opens anything. Raises NoSuchKey; twice is once."""
        with self._database.writing() as connection:
            if connection.execute(select(api_keys.c.id).where(api_keys.c.id == key_id)).one_or_none() is None:
                raise NoSuchKey(f"there is no key {key_id[:80]!r}")
            live = api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)
            connection.execute(update(api_keys).where(*live).values(revoked_at=now))
            connection.execute(_some_sessions(sessions.c.key_id == key_id))  # the others open nothing, and expire

    def key_of(self, secret: str) -> Key | None:
        """The live key that `secret` is."""
        wanted = fingerprint(secret)
        query = select(*_KEY, api_keys.c.fingerprint).where(
            api_keys.c.fingerprint == wanted, api_keys.c.revoked_at.is_(None)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or not hmac.compare_digest(row.fingerprint, wanted):
            return None
        return Key(*row[:-1])

    def used(self, key: Key, now: float) -> None:
        """Note that `key` was used: to the minute, so that not every request writes."""
        if key.last_used_at is not None and now - key.last_used_at < _USED_EVERY_S:
            return
        with self._database.writing() as connection:
            connection.execute(update(api_keys).where(api_keys.c.id == key.id).values(last_used_at=now))

    def start_session(self, key: Key, now: float, *, lasts_s: float, instead_of: str | None = None) -> str:
        """A new session of `key`: the token is told only here. The session `instead_of`, if there is one, ends."""
        token = secrets.token_urlsafe(_SECRET_BYTES)
        values = {
            "fingerprint": fingerprint(token),
            "key_id": key.id,
            "created_at": now,
            "expires_at": now + lasts_s,
        }
        with self._database.writing() as connection:
            connection.execute(_some_sessions(sessions.c.expires_at <= now))
            if instead_of is not None:
                connection.execute(delete(sessions).where(sessions.c.fingerprint == fingerprint(instead_of)))
            connection.execute(insert(sessions), values)
        return token

    def key_of_session(self, token: str, now: float) -> Key | None:
        """The live key to which the session belongs; None once either has ended."""
        wanted = fingerprint(token)
        query = (
            select(*_KEY, sessions.c.fingerprint.label("session"))
            .join(sessions, sessions.c.key_id == api_keys.c.id)
            .where(sessions.c.fingerprint == wanted, sessions.c.expires_at > now, api_keys.c.revoked_at.is_(None))
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or not hmac.compare_digest(row.session, wanted):
            return None
        return Key(*row[:-1])

    def end_session(self, token: str) -> None:
        with self._database.writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.fingerprint == fingerprint(token)))


def _some_sessions(which: ColumnElement[bool]) -> Delete:
    """Deletes some hundred of these sessions, however many there are: other writers wait meanwhile."""
    some = select(sessions.c.fingerprint).where(which).limit(_SESSIONS_AT_ONCE)
    return delete(sessions).where(sessions.c.fingerprint.in_(some))


def fingerprint(secret: str) -> str:
    """What is kept of a secret. It has 256 random bits, so neither salt nor slowness would make guessing harder."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
