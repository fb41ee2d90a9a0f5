"""`tagfleet catalog` on a SQLite file: what it prints, and how it ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from config import settings as config
from config.settings import Settings
from core.wiring import Backend
from tagfleet.cli import catalog
from tagfleet.cli.catalog import command
from web_tier.catalog.database import catalog_url, migrate


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A deployment with a catalogue and queues."""
    settings = config.load({"TAGFLEET_HOME": str(tmp_path / "home")})
    migrate(catalog_url(settings))
    Backend(settings).jobs("resnet50").send(["job"] * 3)
    say(
        settings,
        "INSERT INTO batches (id, pool, options, metadata, payload_hash, created_at, changed_at, change, total,"
        " completed, failed) VALUES ('bat_1', 'p', '{}', '{}', '', 1, 1, 0, 0, 0, 0)",
    )
    return settings


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A place for the catalogue of another deployment."""
    (tmp_path / "new").mkdir()
    return tmp_path / "new" / "catalog.db"


@pytest.fixture
def run(settings) -> Callable[..., Result]:
    environment = {"TAGFLEET_HOME": str(settings.home), "TAGFLEET_CATALOG_TARGET": None}

    def run(*arguments: str, **options: str) -> Result:
        return CliRunner(env=environment).invoke(command, arguments, **options)

    return run


def say(settings: Settings, statement: str, file: str = "catalog.db") -> None:
    connection = sqlite3.connect(settings.home / file)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_move_prints_each_table_and_what_to_do_next(run, settings, new):
    done = run("move", str(new))
    assert done.exit_code == 0, done.output
    assert "batches" in done.stdout
    assert f"moved from {settings.home / 'catalog.db'}\n        to {new}\n" in done.stdout
    assert max(map(len, (line for line in done.output.splitlines() if str(new.parent.parent) not in line))) <= 80
    again = run("move", str(new))
    assert f"it was moved to {new}" in str(again.exception)
    undone = run("move", "--undo")
    assert undone.exit_code == 0
    assert "can be used again" in undone.stdout
    assert run("check").exit_code == 0


def test_the_url_may_come_from_standard_input(run, new):
    assert run("move", "-", input=f"sqlite:///{new}\n").exit_code == 0
    assert new.exists()


@pytest.mark.parametrize(
    "url", ["mysql://me:hunter2@db/x", "postgresql://me:hunter2@h@db/x", "me:hunter2@db/x", "", "/", "new.db"]
)
def test_a_url_that_is_none_is_refused_without_repeating_it(run, url):
    refused = run("move", url)
    assert refused.exit_code != 0
    assert "hunter2" not in refused.output + str(refused.exception)
    assert "URL" in refused.output + str(refused.exception)


def test_a_healthy_deployment_has_no_problems(run, settings):
    checked = run("check")
    assert checked.exit_code == 0, checked.output
    assert checked.stdout.splitlines() == [
        f"catalogue {settings.home / 'catalog.db'}: no problems",
        f"queues {settings.home / 'queues.db'}: no problems",
    ]


PROBLEMS = {
    "DROP INDEX ix_images_sha256": "index ix_images_sha256 is missing",
    "INSERT INTO tags (image_id, key, name, source) VALUES ('img_gone', 'a', 'a', 'model')": "1 rows of tags belong to",
    "INSERT INTO tag_counts (batch_id, key, name, images) VALUES ('', 'dog', 'Dog', 7)": 'tag "Dog": the catalogue',
    "UPDATE batches SET total = 5": "batch bat_1, total: the catalogue says 5 images, there are 0",
    "UPDATE alembic_version SET version_num = '0009'": "its schema has revision 0009, this version of Tagfleet",
}


@pytest.mark.parametrize("statement", PROBLEMS)
def test_what_is_wrong_is_one_line_and_ends_with_1(run, settings, statement):
    say(settings, statement)
    checked = run("check")
    assert checked.exit_code == 1
    assert PROBLEMS[statement] in checked.stdout
    assert "`tagfleet catalog check --repair`" in checked.stdout
    assert str(checked.exception) == "1 problems found"


@pytest.mark.parametrize("statement", [each for each in PROBLEMS if "alembic" not in each])
def test_a_repair_corrects_it(run, settings, statement):
    say(settings, statement)
    repaired = run("check", "--repair")
    assert repaired.exit_code == 0, repaired.output
    assert repaired.stdout.startswith("repaired: ")
    assert run("check").exit_code == 0


def test_wrong_counts_of_the_queues_are_corrected(run, settings):
    say(settings, "UPDATE message_counts SET waiting = 99", "queues.db")
    assert run("check").exit_code == 1
    assert "queues.db counted anew" in run("check", "--repair").stdout
    assert run("check").exit_code == 0


def test_a_damaged_file_is_told_and_not_repaired(run, settings):
    path = settings.home / "catalog.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size // 4))
    checked = run("check")
    assert checked.exit_code == 1
    assert "damaged" in checked.output + str(checked.exception)


def test_vacuum_prints_sizes_before_and_after(run, settings):
    say(settings, "CREATE TABLE waste AS SELECT randomblob(3000000) AS bytes")
    say(settings, "DROP TABLE waste")
    done = run("vacuum")
    assert done.exit_code == 0, done.output
    before, after = (float(word) for word in done.stdout.splitlines()[0].split() if word.replace(".", "").isdigit())
    assert before > 3 > after
    assert f"queues {settings.home / 'queues.db'}: 0." in done.stdout


def test_progress_shows_what_is_left(capsys):
    times = iter([0.0, 0.0, 11.0, 12.0, 40.0])
    progress = catalog._Progress(lambda: next(times))
    progress.begin(100)
    progress.advance("images", "copied", 50)
    progress.advance("images", "copied", 10)
    progress.advance("images", "verified", 40)
    assert capsys.readouterr().err.splitlines()[1:] == [
        " 25%  images copied  about 33 s left",
        " 50%  images verified  about 40 s left",
    ]
