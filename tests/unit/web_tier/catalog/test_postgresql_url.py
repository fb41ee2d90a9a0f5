"""URLs of a catalogue in PostgreSQL: each is accepted, or refused in one line without the password."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as some
from sqlalchemy import create_engine

from config.settings import BadSetting
from web_tier.catalog.postgresql import PostgreSQL
from web_tier.catalog.postgresql_url import postgresql_url

SECRET = "hunter2secret"


def connected(text: str) -> dict[str, object]:
    """What psycopg is told for this URL."""
    url = postgresql_url(text)
    return create_engine(url).dialect.create_connect_args(url)[1] | PostgreSQL(url).connect_args()


@pytest.mark.parametrize(
    ("text", "hosts", "ports"),
    [
        ("postgresql://me@a:5432,b:5433/tags", "a,b", "5432,5433"),
        ("postgresql://me@a,b/tags", "a,b", ""),
        ("postgresql://me@a,b:5433/tags", "a,b", ",5433"),
        ("postgres://me@[::1]:5432,[fe80::1%25eth0]:5433/tags", "::1,fe80::1%eth0", "5432,5433"),
        ("postgresql+psycopg://me@/tags?host=a:5432&host=b:5433", "a,b", "5432,5433"),
        ("postgresql://me@/tags?host=a&host=b:5433", "a,b", ",5433"),
        ("postgresql://me@/tags?host=a,b&port=5432,5433", "a,b", "5432,5433"),
        ("postgresql://me@/tags?host=a&host=b&port=5433", "a,b", "5433,5433"),
        ("postgresql://me@/tags?host=/run/a,/run/b", "/run/a,/run/b", ""),
        ("postgresql://me@%2Frun%2Fa,b/tags", "/run/a,b", ""),
        ("postgresql://me@/tags?host=[::1]:5432&host=[::2]:5433", "::1,::2", "5432,5433"),
    ],
)
def test_several_hosts_in_libpqs_form_and_in_sqlalchemys(text, hosts, ports):
    told = connected(text)
    assert told["host"] == hosts
    assert str(told.get("port", "")).rstrip(",") == ports
    assert told["target_session_attrs"] == "read-write"
    assert told["dbname"] == "tags"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("postgresql://me@db.example:5433/tags", "db.example", 5433),
        ("postgresql://me@db-1_a.example/tags", "db-1_a.example", None),
        ("postgresql://me@[::1]:5433/tags", "::1", 5433),
        ("postgresql://me@[::1]/tags", "::1", None),
        ("postgresql://me@%2Frun%2Fpostgresql/tags", "/run/postgresql", None),
        ("postgresql://me@/tags?host=/run/postgresql&port=5433", "/run/postgresql", 5433),
        ("postgresql://me@/tags?host=db:5433", "db", 5433),
        ("postgresql://me@/tags?host=::1", "::1", None),
        ("postgresql://me@/tags?host=@abstract", "@abstract", None),
        ("postgresql:///tags", None, None),
        ("postgresql://me@elsewhere:5433/tags?host=/run/postgresql", "/run/postgresql", 5433),
    ],
)
def test_one_host(text, host, port):
    told = connected(text)
    assert (told.get("host"), told.get("port")) == (host, port)
    assert told["target_session_attrs"] == "primary"


def test_a_service_needs_nothing_else():
    told = connected("postgresql://?service=tags")
    assert told["service"] == "tags"
    assert "dbname" not in told


@pytest.mark.parametrize(
    ("wanted", "asked"), [("read-write", "read-write"), ("primary", "primary"), ("any", "primary")]
)
def test_target_session_attrs_that_allow_writing(wanted, asked):
    assert connected(f"postgresql://me@a,b/tags?target_session_attrs={wanted}")["target_session_attrs"] == asked


def test_load_balancing_reaches_libpq():
    assert connected("postgresql://me@a,b/tags?load_balance_hosts=random")["load_balance_hosts"] == "random"


@pytest.mark.parametrize(
    "given_options",
    [
        "-c%20search_path=mine",
        "-c+search_path=mine",
        "-csearch_path=mine",
        "--search_path=mine",
        "-c%20search%5Fpath=mine",
    ],
)
def test_options_come_beside_our_time_outs(given_options):
    options = connected(f"postgresql://me@h/tags?options={given_options}")["options"]
    for name in ("lock_timeout=10s", "statement_timeout=60s", "idle_in_transaction_session_timeout=60s"):
        assert f"-c {name}" in options
    assert "search_path=mine" in options


def test_a_time_out_that_is_given_comes_last_and_so_counts():
    options = connected("postgresql://me@h/tags?options=-c%20statement_timeout=5s")["options"]
    assert options.index("statement_timeout=60s") < options.index("statement_timeout=5s")


def test_what_is_given_counts_before_our_defaults():
    told = connected("postgresql://me@h/tags?connect_timeout=20&application_name=mine&sslmode=verify-full")
    assert (told["connect_timeout"], told["application_name"], told["sslmode"]) == ("20", "mine", "verify-full")


@given(some.text(some.characters(exclude_categories=("Cs", "Cc")), min_size=1))
@example("p@ss/w:o?r#d%&=+ ,[]'\\")
def test_any_password_and_user_can_be_written_with_escapes(text):
    told = connected(f"postgresql://{quote(text, safe='')}:{quote(text, safe='')}@h,i/tags")
    assert (told["user"], told["password"], told["host"]) == (text, text, "h,i")


@pytest.mark.parametrize(
    "text",
    [
        "mysql://me:{}@db/tags",
        "postgresql+psycopg2://me:{}@db/tags",
        "postgresql+asyncpg://me:{}@db/tags",
        "{}",
        "://{}",
        "postgresql:/{}",
        "host=db password={}",
        "postgresql://me:{}@db",
        "postgresql://me:{}@db/",
        "postgresql://me:{}@db:port/tags",
        "postgresql://me:{}@db:0/tags",
        "postgresql://me:{}@db:65536/tags",
        "postgresql://me:{}@db:-1/tags",
        "postgresql://me:{}@db:5432:5433/tags",
        "postgresql://me:{}@a:1,b:c/tags",
        "postgresql://me:{}@[::1/tags",
        "postgresql://me:{}@[::1]x/tags",
        "postgresql://me:{}@[db]/tags",
        "postgresql://me:{}@::1/tags",
        "postgresql://me:{}%@db/tags",
        "postgresql://me:{}%zz@db/tags",
        "postgresql://me:{}%ff@db/tags",
        "postgresql://me:{}%00@db/tags",
        "postgresql://me:p@{}@db/tags",
        "postgresql://me:{}/x@db/tags",
        "postgresql://me:1/{}@db/tags",
        "postgresql://me:{}:x@db/tags",
        "postgresql://me:1?{}=/x@db/tags",
        "postgresql://me:{}@d b/tags",
        "postgresql://me:{}@db/tags\nmore",
        "postgresql://me:{}@db/tags?sslmod=require",
        "postgresql://me:{}@db/tags?sslmode=sure",
        "postgresql://me:{}@db/tags?sslmode=require&sslmode=disable",
        "postgresql://me@db/tags?{}",
        "postgresql://me@db/tags?{}=1",
        "postgresql://me@db/tags?sslmode={}",
        "postgresql://me:{}@db/tags?connect_timeout=soon",
        "postgresql://me:{}@db/tags?keepalives_idle=x",
        "postgresql://me:{}@db/tags?target_session_attrs=standby",
        "postgresql://me:{}@db/tags?target_session_attrs=prefer-standby",
        "postgresql://me:{}@db/tags?target_session_attrs=read-only",
        "postgresql://me:{}@db/tags?target_session_attrs=writable",
        "postgresql://me:{}@db/tags?load_balance_hosts=always",
        "postgresql://me:{}@db/tags?options=statement_timeout%3D5s",
        "postgresql://me:{}@db/tags?options=-c",
        "postgresql://me:{}@db/tags?options=-c%20x",
        "postgresql://me:{}@db/tags?hostaddr=db",
        "postgresql://me:{}@db/tags?host=a&host=b&port=1,2,3",
        "postgresql://me:{}@db/tags?port=x",
        "postgresql://me:{}@db/tags?replication=database",
        "postgresql://me:{}@db/tags?client_encoding=latin1",
        "postgresql://me:{}@db/tags?sslnegotiation=direct",
        "postgresql://me:{}@db/tags?scram_client_key={}",
    ],
)
def test_what_cannot_be_is_one_line_without_the_secret(text):
    with pytest.raises(
        BadSetting, match=r"^setting web\.catalog_url: .*postgresql://USER@HOST:5432/DATABASE"
    ) as refused:
        postgresql_url(text.replace("{}", SECRET))
    assert SECRET not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_misspelt_parameter_is_named():
    with pytest.raises(BadSetting, match="sslmode"):
        postgresql_url("postgresql://me@db/tags?sslmod=require")


def shown(text: str) -> str:
    """What is ever said of this URL: the line that refuses it, or how messages name the database."""
    try:
        return PostgreSQL(postgresql_url(text)).place
    except BadSetting as refused:
        assert str(refused).startswith("setting web.catalog_url: ")
        return str(refused)


PIECES = some.sampled_from(
    [
        *("postgresql://", "postgres://", "me", ":", "@", "h1", ",", ":5432", "[::1]", "/", "tags", "?", "&", "="),
        *("%", "%41", "host=", "port=", "options=", "-c ", "sslmode=", "target_session_attrs=", "service="),
        *("password=", "\n", "é", "\ud800", "\0", "hostaddr=", "passfile=", "1", " ", "+"),
    ]
)
TEXTS = some.lists(PIECES, max_size=14).map("".join) | some.text(max_size=40)


@given(TEXTS, some.sampled_from(["", "postgresql://", "postgresql://me:pw@h/", "postgresql://me@h/tags?"]))
def test_every_text_is_taken_or_refused_in_one_line(text, start):
    assert "\n" not in shown(start + text)


@given(TEXTS, TEXTS)
@example("x@", "")
@example("1/", "")
@example("1?", "=/x")
def test_a_password_with_any_raw_characters_is_never_shown(before, after):
    for end in ("@db/tags", "@a:1,b:2/tags?sslmode=require", "@/tags?host=/run/postgresql"):
        assert SECRET not in shown(f"postgresql://me:{before}{SECRET}{after}{end}")


@pytest.mark.parametrize("name", ["password", "sslpassword", "scram_client_key", "oauth_client_secret", "passfile"])
def test_a_secret_among_the_parameters_is_never_shown(name):
    assert SECRET not in shown(f"postgresql://me@db/tags?{name}={SECRET}")
