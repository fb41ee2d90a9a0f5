"""Figures, tables and the page are computed from the record of runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.reports.plot import thin_points
from tagfleet.loadtest import figures, page, record, suite, summaries
from tagfleet.loadtest.figures import Spread
from tagfleet.loadtest.plan import LoadPlan, LoadTestError
from tagfleet.loadtest.record import Boot, LoadRun, Photo, Report, Sample


def run_of(*photos: Photo, count: int | None = None, label: str = "load", **more) -> LoadRun:
    plan = LoadPlan(label=label, count=count or len(photos))
    return LoadRun(plan=plan, began_at_unix=0, url="http://127.0.0.1:1", photos=list(photos), **more)


def tagged(sent: float, tagged: float, **more) -> Photo:
    return Photo(bytes=1000, sent=sent, accepted=sent + 0.5, tagged=tagged, **more)


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_percentiles_are_values_that_occurred_in_order(values):
    spread = Spread.of(values)
    assert {spread.p50, spread.p95, spread.p99, spread.max} <= set(values)
    assert min(values) <= spread.p50 <= spread.p95 <= spread.p99 <= spread.max == max(values)
    assert sum(value <= spread.p95 for value in values) >= 0.95 * len(values)
    assert min(values) * 0.999999 <= spread.mean <= max(values) * 1.000001


def test_the_percentiles_of_a_hundred_seconds():
    assert Spread.of(list(range(1, 101))) == Spread(mean=50.5, p50=50, p95=95, p99=99, max=100)


def test_rates_count_from_the_first_byte_to_the_last_tags():
    found = figures.compute(run_of(tagged(1, 3), tagged(2, 6), tagged(2.5, 11)))
    assert (found.seconds, found.images_per_s) == (10, 0.3)
    assert found.uploads_per_s == pytest.approx(3 / 2)
    assert found.mb_per_s == pytest.approx(0.0015)
    assert found.response.mean == pytest.approx(14.5 / 3)
    assert (found.response.p50, found.response.p95, found.response.max) == (4, 8.5, 8.5)
    assert found.sound


def test_what_failed_is_counted_by_kind_and_in_no_response_time():
    refused = Photo(bytes=1, sent=0, error="refused: HTTP 503 Busy")
    failed = tagged(0, 90, error="failed: it is no image")
    found = figures.compute(run_of(tagged(0, 2), refused, refused, failed, count=5))
    assert found.errors == {"refused: HTTP 503 Busy": 2, "failed: it is no image": 1}
    assert (found.tagged, found.photos, found.sound, found.response.max) == (1, 5, False, 2)


def test_a_run_in_which_nothing_arrived_has_no_figures_but_errors():
    found = figures.compute(run_of(Photo(bytes=1, error="nothing answers")))
    assert (found.seconds, found.response, found.uploads_per_s, found.images_per_s) == (None, None, None, None)
    assert list(summaries.summary(run_of(Photo(bytes=1, error="nothing answers"))))[-1] == "  1 × nothing answers"


def test_a_sender_that_was_late_or_at_its_limit_says_so():
    late = [Photo(bytes=1, planned=0, sent=2, accepted=3, tagged=4)] * 3
    assert (
        "4 requests at once were too few for this rate: one photo in twenty left 2.0 s"
        in figures.compute(run_of(*late)).remarks[0]
    )
    busy = run_of(*[tagged(0, 1)] * 10, cpu_seconds=0.5)
    assert "near the 20/s that its one process can reach" in figures.compute(busy).remarks[0]
    assert figures.compute(run_of(*[tagged(0, 1)] * 10, cpu_seconds=0.05)).remarks == []


def test_boots_are_averaged_by_phase():
    boots = [Boot(worker_id=id, phases={"process": 1, "ready": ready}) for id, ready in (("a", 2), ("b", 4))]
    found = figures.compute(run_of(tagged(0, 1), boots=boots))
    assert (found.boots, found.boot_phases["ready"].mean, found.boot_phases["process"].max) == (2, 3, 1)


def test_a_report_is_read_as_it_was_written(tmp_path):
    report = Report(machine="here", runs=[run_of(tagged(0, 1), samples=[Sample(at=0, waiting=1, in_flight=0)])])
    record.write(report, tmp_path / "a.json")
    assert record.read(tmp_path / "a.json") == report


@pytest.mark.parametrize("content", ["", "{}", '{"runs": [{}]}', '{"format": 99, "runs": []}'])
def test_what_is_no_report_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(LoadTestError, match="not a report of `tagfleet loadtest`"):
        record.read(tmp_path / "a.json")


def test_two_reports_are_compared_by_the_labels_of_their_runs():
    first = Report(runs=[run_of(tagged(0, 2)), run_of(tagged(0, 1), label="only here")])
    second = Report(runs=[run_of(tagged(0, 3))])
    lines = {" ".join(line.split()[:-3]): line.split()[-3:] for line in summaries.comparison(first, second)}
    assert lines["response p50, s"] == ["2.00", "3.00", "1.50"]
    assert lines["errors"] == ["0.00", "0.00", "–"]
    assert "only here" not in lines


def test_reports_without_a_common_label_say_so():
    first, second = (Report(runs=[run_of(tagged(0, 2), label=label)]) for label in "ab")
    assert list(summaries.comparison(first, second)) == ["the reports have no run in common: a and b"]


def test_the_suite_puts_ours_beside_the_other_system_s():
    plans = suite.plans(60, LoadPlan(count=1, per_request=20))
    assert [(plan.count, plan.sizes, plan.start, plan.per_request) for plan in plans] == [
        (count, (size,), "cold", 20)
        for count, size in ((20, 80_000), (30, 80_000), (27, 1_900), (40, 80_000), (60, 80_000))
    ]
    runs = [
        run_of(*[tagged(0, 2.3015)] * 20, label=plans[0].label, boots=[Boot(worker_id="a", phases={"ready": 0.7153})]),
        run_of(*[tagged(0, 2)] * 39, count=40, label=plans[3].label),
    ]
    lines = list(suite.table(runs))[2:]
    assert lines == [
        "| 20 photos of about 80 kB | 2.30 s | 2.30 s, 2.30 s | 8.7 | 230.15 s | 100 |",
        "| 40 photos of about 80 kB | 39 of 40 tagged | 2.00 s, 2.00 s | 19.5 | looped after the 26th |  |",
        "| a worker's boot, mean of 1 | 0.72 s | | | 71.53 s | 100 |",
    ]


def test_the_page_has_its_plots_within_and_is_hostile_to_no_one():
    samples = [Sample(at=at, waiting=at, in_flight=0, workers={"busy": at}) for at in range(3)]
    run = run_of(tagged(0, 1), Photo(bytes=1, sent=0, error="<script>"), label="<b>load", samples=samples)
    html = page.html(Report(machine="here", suite=suite.PREDECESSOR, runs=[run]))
    assert html.count("<svg") == 1
    assert "&lt;b&gt;load" in html
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert 'src="' not in html


def test_a_run_of_which_nothing_is_known_has_a_page_too():
    assert "0 of 1 photos tagged" in page.html(Report(runs=[run_of(count=1)]))


@given(st.integers(1, 5000), st.integers(2, 300))
def test_thinning_keeps_the_ends_and_the_order(count, most):
    points = [(float(number), float(number)) for number in range(count)]
    kept = thin_points(points, most)
    assert len(kept) <= most
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert kept == sorted(kept)
