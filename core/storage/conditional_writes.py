"""Checks that a store honours conditional writes, on which the controller's lease and runs depend.

Stores with S3's protocol differ: some refuse `If-None-Match` and `If-Match` on a put (501 NotImplemented), and some
ignore them, which is worse, as no error would ever show it.
"""

from __future__ import annotations

from contextlib import suppress

from core.domain.ids import new_id
from core.errors import Misconfigured, PreconditionFailed, Unavailable, UnsuitableStore
from core.storage import layout
from core.storage.ports import Condition, Etag, IfAbsent, IfMatch, ObjectStore

_OTHER = Etag('"00000000000000000000000000000000"')
"""An etag that no object has, in S3's form: an MD5 in quotes."""


def check_conditional_writes(store: ObjectStore, place: str) -> None:
    """Put a small object under each condition, check that the store obeys, and delete the object.

    `place` names the store for people. Raises UnsuitableStore if it does not obey, Unavailable if it does not answer.
    """
    key = f"{layout.PROBES}{new_id('prb')}"
    there = store.put(key, b"probe")
    try:
        _check_refused(store, key, IfAbsent(), place, "If-None-Match")
        _check_refused(store, key, IfMatch(_OTHER), place, "If-Match")
        _check_accepted(store, key, IfMatch(there), place, "If-Match")
    finally:
        with suppress(Unavailable):  # the check itself reports what is wrong
            store.delete([key])


def _check_refused(store: ObjectStore, key: str, condition: Condition, place: str, header: str) -> None:
    try:
        store.put(key, b"probe of a condition that does not hold", condition=condition)
    except PreconditionFailed:
        return
    except Misconfigured as error:
        raise _unsuitable(place, f"refuses {header} on a put", str(error)) from error
    raise _unsuitable(place, f"ignores {header} on a put")


def _check_accepted(store: ObjectStore, key: str, condition: Condition, place: str, header: str) -> None:
    try:
        store.put(key, b"probe of a condition that holds", condition=condition)
    except PreconditionFailed as error:
        raise _unsuitable(place, f"refuses {header} on a put although the condition holds") from error
    except Misconfigured as error:
        raise _unsuitable(place, f"refuses {header} on a put", str(error)) from error


def _unsuitable(place: str, what: str, said: str = "") -> UnsuitableStore:
    because = f" ({said})" if said else ""
    return UnsuitableStore(
        f"the store ({place}) {what}{because}: without conditional writes two controllers could act at once; "
        "use Amazon S3, or a server that has them (docs/aws.md, Other S3 servers)"
    )
