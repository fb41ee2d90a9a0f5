"""Pages of results and of a search, against plain answers to the same questions on random catalogues."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.web_tier.catalog.random_catalog import (
    BATCHES,
    LONG,
    expected_results,
    expected_search,
    make,
    store,
)
from web_tier.catalog import result_queries, search, tag_keys
from web_tier.catalog.result_queries import ResultQueries, Wanted
from web_tier.catalog.tag_rows import TagFilter
from web_tier.catalog.tags import TagCatalog

FILTERS = st.builds(
    TagFilter,
    name=st.sampled_from([None, None, "Dog", "hound", "sea", "basset", "unheard of", f"{LONG} and more"]),
    prefix=st.sampled_from([None, None, "S", "sea", "", "b", "zz", LONG]),
    min_confidence=st.sampled_from([None, None, 0.0, 0.29, 0.292, 0.3, 0.57, 1.0]),
)
STATUSES = st.sampled_from([None, None, ("received", "queued"), ("succeeded",), ("failed",), ("cancelled",)])
CATALOGUES = st.builds(make, st.integers(0, 1 << 30), st.integers(0, 60), st.sampled_from([0.0, 0.0, 0.3, 1.0]))
LIMITS = st.sampled_from([1, 2, 3, 7, 100])
many = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(params=["large", "small"], autouse=True)
def thresholds(request, monkeypatch):
    """In small catalogues only small thresholds are ever crossed."""
    if request.param == "small":
        monkeypatch.setattr(result_queries, "_WALKED", 5)
        monkeypatch.setattr(search, "_WALKED", 5)
        monkeypatch.setattr(tag_keys, "MOST_KEYS", 2)


@many
@given(
    pictures=CATALOGUES,
    wanted=st.builds(Wanted, STATUSES, FILTERS, st.sampled_from(["upload", "latest", "surest", "unsure"])),
    limit=LIMITS,
)
def test_pages_of_results_are_what_a_plain_filter_and_sort_give(database, pictures, wanted, limit):
    with database.writing() as connection:
        store(connection, pictures)
    queries = ResultQueries(database)
    for batch_id in BATCHES:
        found, after = [], None
        while True:
            page = queries.page(batch_id, wanted, limit, after)
            found += [image.id for image in page.images]
            after = page.end
            if after is None:
                break
        assert found == expected_results(pictures, batch_id, wanted), batch_id


@many
@given(pictures=CATALOGUES, wanted=FILTERS, limit=LIMITS)
def test_pages_of_a_search_are_what_a_plain_filter_gives(database, pictures, wanted, limit):
    with database.writing() as connection:
        store(connection, pictures)
    catalog = TagCatalog(database)
    found: list[str] = []
    while page := catalog.search(wanted, limit, found[-1] if found else None):
        found += [image.id for image in page]
    assert found == expected_search(pictures, wanted)


def test_a_batch_that_does_not_exist_has_no_results(database):
    assert ResultQueries(database).page("bat_none", Wanted(("failed",)), 10).images == []
