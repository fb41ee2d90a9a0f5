"""Rows that are written together, and lists of values: the same on both databases as one by one."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, delete, insert, select, update

from web_tier.catalog.database import Database
from web_tier.catalog.many_rows import ManyRows, insert_many, is_any_of
from web_tier.catalog.tables import webhooks

_COLUMNS = ("id", "url", "events", "secret", "created_at", "last_status", "last_error")
_INSERT = insert_many(webhooks, *_COLUMNS)
_CHANGED = {"of": webhooks.c.id, "events_": webhooks.c.events, "error_": webhooks.c.last_error}


def _setting(values: Any) -> Any:
    new = {"events": values["events_"], "last_error": values["error_"]}
    return update(webhooks).where(webhooks.c.id == values["of"]).values(new)


_UPDATE = ManyRows(_CHANGED, _setting({name: bindparam(name) for name in _CHANGED}), _setting)
_WITH_IDS = select(*(webhooks.c[name] for name in _COLUMNS)).where(is_any_of(webhooks.c.id, "ids"))

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=5,
)
_rows = st.lists(
    st.fixed_dictionaries(
        {
            "id": _texts.filter(lambda text: "\0" not in text),
            "url": _texts,
            "events": _json,
            "secret": _texts,
            "created_at": st.floats(allow_nan=False, width=32),
            "last_status": st.none() | st.integers(-(2**31), 2**31 - 1),
            "last_error": st.none() | _texts,
        }
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda row: row["id"],
)


def stored(database: Database, ids: list[str]) -> dict[str, dict[str, Any]]:
    return {row.id: dict(row._mapping) for row in database.fetch(_WITH_IDS, {"ids": ids})}


@given(rows=_rows, data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_that_are_written_together_are_as_if_written_one_by_one(database, rows, data):
    ids = [row["id"] for row in rows]
    changes = [{"of": id, "events_": data.draw(_json), "error_": data.draw(st.none() | _texts)} for id in ids]

    def one_by_one(connection: Any) -> None:
        for row, change in zip(rows, changes, strict=True):
            connection.execute(insert(webhooks), row)
            connection.execute(_setting({name: bindparam(name, type_=_CHANGED[name].type) for name in change}), change)

    def together(connection: Any) -> None:
        _INSERT.execute(connection, rows)
        _UPDATE.execute(connection, changes)

    found = []
    for write in (one_by_one, together):
        with database.writing() as connection:
            connection.execute(delete(webhooks))
            write(connection)
        found.append(stored(database, ids))
    assert found[0] == found[1]
    assert len(found[0]) == len(rows)


def test_a_list_finds_its_values_only(database):
    rows = [dict.fromkeys(_COLUMNS, "") | {"id": id, "created_at": 1.0, "last_status": 1} for id in ("a", "b,c", 'd"')]
    with database.writing() as connection:
        _INSERT.execute(connection, rows)
    assert stored(database, []) == {}
    assert set(stored(database, ["a", 'd"', "none", "b"])) == {"a", 'd"'}


def test_a_text_with_nul_finds_no_row_of_another(database):
    with database.writing() as connection:
        _INSERT.execute(connection, [dict.fromkeys(_COLUMNS, "") | {"id": "a", "created_at": 1.0, "last_status": 1}])
    assert stored(database, ["a\0b", "\0"]) == {}
