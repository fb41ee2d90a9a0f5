"""Keys, scopes and sessions, and attacks on them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from web_tier.app import create_app
from web_tier.catalog.keys import KeyCatalog
from web_tier.catalog.tables import batches
from web_tier.http.routes import route_of

HERE = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def keys(web) -> KeyCatalog:
    return web.client.application.extensions["tagfleet"].keys


@pytest.fixture
def guarded(web):
    """Return a factory of clients of the same service with keys required; each client has its own cookies."""
    opened = []

    def another(**changed):
        settings = web.settings.model_copy(
            update={"web": web.settings.web.model_copy(update={"require_keys": True, **changed})}
        )
        app = create_app(web.backend, settings, web.clock)
        opened.append(app)
        return app.test_client()

    yield another
    for app in opened:
        app.extensions["tagfleet"].database.close()


@pytest.fixture
def key(keys, web):
    """Create a key with these scopes, and return its id and its secret."""

    def make(*scopes: str) -> tuple[str, str]:
        made, secret = keys.create("somebody", scopes or ("read", "write"), web.clock())
        return made.id, secret

    return make


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def signed_in(client, secret: str):
    answer = client.post("/api/v1/session", json={"key": secret})
    assert answer.status_code == 204, answer.text
    return answer


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/api/v1/batches"),
        ("post", "/api/v1/batches"),
        ("get", "/api/v1/images/img_1/thumbnail"),
        ("get", "/api/v1/keys"),
        ("get", "/api/v1/fleet"),
        ("get", "/metrics"),
        ("get", "/readyz"),
    ],
)
def test_without_a_key_nothing_is_told(guarded, method, path):
    answer = getattr(guarded(), method)(path)
    assert answer.status_code == 401
    assert answer.content_type == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")


def test_every_route_is_closed_unless_it_is_known_to_be_open(guarded):
    """A new route is closed without further work."""
    client = guarded()
    open_rules = set()
    for rule in client.application.url_map.iter_rules():
        method = next(iter(rule.methods - {"HEAD", "OPTIONS"}))
        path = rule.build(dict.fromkeys(rule.arguments, "x"), append_unknown=False)[1]
        if client.open(path, method=method, headers=HERE).status_code != 401:
            open_rules.add(rule.endpoint.partition(".")[0] if "session" not in rule.endpoint else "session")
    assert open_rules <= {"pages", "docs", "openapi", "health", "session"}


@pytest.mark.parametrize("path", ["/", "/healthz", "/openapi.json", "/api/v1/session"])
def test_the_page_and_the_way_in_are_open(guarded, path):
    assert guarded().get(path).status_code == 200


def test_a_key_opens_what_its_scopes_say(guarded, key):
    client = guarded()
    _, reader = key("read")
    _, writer = key("write")
    _, operator = key("operate")
    found = {
        name: [
            client.get("/api/v1/batches", headers=bearer(secret)).status_code,
            client.post("/api/v1/batches", json={}, headers=bearer(secret)).status_code,
            client.get("/api/v1/keys", headers=bearer(secret)).status_code,
        ]
        for name, secret in {"read": reader, "write": writer, "operate": operator}.items()
    }
    assert found == {"read": [200, 403, 403], "write": [403, 201, 403], "operate": [403, 403, 200]}


@pytest.mark.parametrize(
    ("method", "rule", "scope"),
    [
        ("GET", "/api/v1/fleet", "read"),
        ("GET", "/api/v1/fleet/history", "read"),
        ("POST", "/api/v1/fleet/pause", "operate"),
        ("PUT", "/api/v1/fleet/cap", "operate"),
        ("GET", "/api/v1/fleet/dead-letters", "operate"),
        ("POST", "/api/v1/fleet/workers/<worker_id>/drain", "operate"),
        ("GET", "/api/v1/webhooks", "operate"),
        ("DELETE", "/api/v1/batches/<batch_id>", "write"),
        ("HEAD", "/metrics", "read"),
    ],
)
def test_what_a_route_needs(guarded, method, rule, scope):
    app = guarded().application
    found = [entry for entry in app.url_map.iter_rules() if entry.rule == rule and method in entry.methods]
    assert [route_of(app, entry.endpoint).scope for entry in found] == [scope]


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", "Bearer ", "Bearer tf_", "Basic dGY6", "Bearer tf_\u00e4", "bearer x y", "Bearer " + "x" * 4000],
)
def test_what_is_no_key_opens_nothing(guarded, given):
    assert guarded().get("/api/v1/batches", headers={"Authorization": given}).status_code == 401


def test_a_key_in_the_address_is_no_key(guarded, key):
    _, secret = key()
    for name in ("key", "api_key", "access_token"):
        assert guarded().get(f"/api/v1/batches?{name}={secret}").status_code in (401, 422)


def test_a_key_is_made_listed_used_and_revoked(guarded, key, web):
    client = guarded()
    _, operator = key("read", "operate")
    made = client.post("/api/v1/keys", json={"name": "phone", "scopes": ["read"]}, headers=bearer(operator))
    assert made.status_code == 201
    assert made.json["key"].startswith("tf_")
    assert len(made.json["key"]) == 46
    phone = bearer(made.json["key"])
    assert client.get("/api/v1/batches", headers=phone).status_code == 200
    listed = client.get("/api/v1/keys", headers=bearer(operator))
    assert made.json["key"] not in listed.text
    (shown,) = [entry for entry in listed.json["keys"] if entry["id"] == made.json["id"]]
    assert (shown["name"], shown["scopes"], shown["revoked_at"]) == ("phone", ["read"], None)
    assert shown["last_used_at"] is not None
    for _ in range(2):
        assert client.delete(f"/api/v1/keys/{made.json['id']}", headers=bearer(operator)).status_code == 204
    assert client.get("/api/v1/batches", headers=phone).status_code == 401
    assert client.delete("/api/v1/keys/key_none", headers=bearer(operator)).status_code == 404


def test_a_key_passes_on_no_scope_that_it_has_not(guarded, key, keys):
    _, operator = key("operate")
    answer = guarded().post("/api/v1/keys", json={"name": "more", "scopes": ["write"]}, headers=bearer(operator))
    assert answer.status_code == 403
    assert [entry.name for entry in keys.list_all()] == ["somebody"]


def test_the_catalogue_keeps_no_secret(web, keys, guarded, key):
    _, secret = key()
    client = guarded()
    signed_in(client, secret)
    token = client.get_cookie("tagfleet").value
    with web.client.application.extensions["tagfleet"].database.reading() as connection:
        for table in ("api_keys", "sessions"):
            kept = str(connection.exec_driver_sql(f"SELECT * FROM {table}").all())
            assert secret not in kept
            assert secret.removeprefix("tf_") not in kept
            assert token not in kept


@pytest.mark.parametrize(
    "body", ["{}", '{"key":""}', '{"key":7}', '{"key":"tf_x","more":1}', "[]", "{", '{"key":"tf_\\ud800"}']
)
def test_a_wrong_sign_in_is_refused_and_does_not_repeat_what_it_was_given(guarded, body):
    answer = guarded().post("/api/v1/session", data=body)
    assert answer.status_code in (401, 422)
    assert "tf_" not in answer.text
    assert "Set-Cookie" not in answer.headers


def test_a_session_stands_for_its_key(guarded, key):
    client = guarded()
    _, secret = key("read", "write")
    assert client.get("/api/v1/session").json == {"required": True, "signed_in": False, "scopes": []}
    cookie = signed_in(client, secret).headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert secret not in cookie
    assert client.get("/api/v1/session").json == {"required": True, "signed_in": True, "scopes": ["read", "write"]}
    assert client.get("/api/v1/batches").status_code == 200
    assert client.post("/api/v1/batches", json={}, headers=HERE).status_code == 201
    assert client.get("/api/v1/keys").status_code == 403


def test_behind_tls_the_cookie_is_for_tls_alone(guarded, key):
    _, secret = key()
    cookie = signed_in(guarded(https=True), secret).headers["Set-Cookie"]
    assert cookie.startswith("__Host-tagfleet=")
    assert "Secure" in cookie.split("; ")


def test_behind_tls_our_page_s_origin_is_https(guarded, key):
    _, secret = key()
    client = guarded(https=True, hosts="tags.example.org")
    for origin, status in (("https://tags.example.org", 201), ("http://tags.example.org", 403)):
        there = {**bearer(secret), "Host": "tags.example.org", "Origin": origin}
        assert client.post("/api/v1/batches", json={}, headers=there).status_code == status


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_a_session_changes_nothing_for_another_site(guarded, key, headers):
    """Cross-site request forgery: the browser sends the cookie, but no proof that our page asked."""
    client = guarded()
    signed_in(client, key()[1])
    assert client.post("/api/v1/batches", json={}, headers=headers).status_code == 403
    assert client.get("/api/v1/batches").json["batches"] == []


def test_signing_in_by_another_site_is_refused(guarded, key):
    answer = guarded().post("/api/v1/session", json={"key": key()[1]}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403


def test_a_stolen_session_cookie_beside_another_key_is_refused(guarded, key):
    victim, thief = guarded(), guarded()
    signed_in(victim, key("read", "write", "operate")[1])
    _, other = key("read")
    thief.set_cookie("tagfleet", victim.get_cookie("tagfleet").value)
    answer = thief.get("/api/v1/batches", headers=bearer(other))
    assert answer.status_code == 401
    assert "another key" in answer.json["detail"]


def test_a_session_ends_with_its_key(guarded, key, keys, web):
    client = guarded()
    key_id, secret = key()
    signed_in(client, secret)
    keys.revoke(key_id, web.clock())
    assert client.get("/api/v1/batches").status_code == 401
    assert client.get("/api/v1/session").json["signed_in"] is False


def test_a_session_ends_after_its_days(guarded, key, web):
    client = guarded(session_s=100)
    signed_in(client, key()[1])
    stolen = client.get_cookie("tagfleet").value
    web.clock.now += 101
    client.set_cookie("tagfleet", stolen)  # the browser itself has forgotten it
    assert client.get("/api/v1/batches").status_code == 401


def test_signing_out_ends_the_session_for_whoever_has_a_copy(guarded, key):
    client, copy = guarded(), guarded()
    signed_in(client, key()[1])
    copy.set_cookie("tagfleet", client.get_cookie("tagfleet").value)
    assert copy.get("/api/v1/batches").status_code == 200
    assert client.delete("/api/v1/session").status_code == 204
    assert client.get_cookie("tagfleet") is None
    assert copy.get("/api/v1/batches").status_code == 401


def test_a_session_is_never_taken_over_from_the_browser(guarded, key):
    """Session fixation: signing in replaces a planted cookie and ends its session."""
    client, attacker = guarded(), guarded()
    signed_in(attacker, key("read")[1])
    planted = attacker.get_cookie("tagfleet").value
    for value in ("made-up", planted):
        client.set_cookie("tagfleet", value)
        signed_in(client, key("read", "write")[1])
        assert client.get_cookie("tagfleet").value != value
    assert attacker.get("/api/v1/batches").status_code == 401


def test_where_no_key_is_asked_for_a_wrong_one_still_is_wrong(web, key):
    assert web.client.get("/api/v1/session").json == {
        "required": False,
        "signed_in": False,
        "scopes": ["read", "write", "operate"],
    }
    assert web.client.get("/api/v1/batches", headers=bearer("tf_wrong")).status_code == 401
    assert web.client.get("/api/v1/keys", headers=bearer(key("read")[1])).status_code == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("tags.example.org", 200),
        ("TAGS.example.org:8000", 200),
        ("192.168.1.2:8000", 200),
        ("[fd00::2]:8000", 200),
        ("localhost", 200),
        ("evil.example", 403),
        ("tags.example.org.evil.example", 403),
    ],
)
def test_the_names_of_the_server_are_those_of_its_settings(guarded, key, host, status):
    """DNS rebinding again: an address is never looked up, but an unknown name may be anybody's."""
    client = guarded(hosts="tags.example.org, nas")
    assert client.get("/api/v1/batches", headers={**bearer(key()[1]), "Host": host}).status_code == status


@pytest.mark.parametrize("by_session", [True, False])
def test_a_stream_ends_with_the_key_it_was_opened_with(guarded, key, keys, web, by_session):
    client = guarded()
    key_id, secret = key("read", "write")
    batch = client.post("/api/v1/batches", json={}, headers=bearer(secret)).json["id"]
    if by_session:
        signed_in(client, secret)
    answer = client.get(f"/api/v1/batches/{batch}/events", headers={} if by_session else bearer(secret))
    events = answer.response
    assert next(events).startswith(b"retry")
    assert b"event: batch" in next(events)
    keys.revoke(key_id, web.clock())
    web.clock.now += 6
    assert b"".join(events) == b""
    answer.close()


def batch_named(client, name: str, **headers: str):
    answer = client.post("/api/v1/batches", json={}, headers={"Idempotency-Key": name, **headers})
    assert answer.status_code in (200, 201), answer.text
    return answer.status_code, answer.json["id"]


def test_an_idempotency_key_is_known_within_its_api_key_only(web, guarded, key, keys):
    (first_id, first), (_, second) = key(), key()
    client = guarded()
    made = batch_named(client, "k", **bearer(first))
    assert batch_named(client, "k", **bearer(first)) == (200, made[1])
    others = [batch_named(client, "k", **bearer(second)), batch_named(web.client, "k")]
    assert [status for status, _ in (made, *others)] == [201, 201, 201]
    assert len({id for _, id in (made, *others)}) == 3
    # Nobody without an API key can write a name that is stored for one.
    assert batch_named(web.client, f"{first_id} k")[0] == 201
    assert (
        client.post(
            "/api/v1/batches", json={"metadata": {"a": 1}}, headers={"Idempotency-Key": "k"} | bearer(second)
        ).status_code
        == 422
    )
    keys.revoke(first_id, web.clock())
    _, third = key()
    assert batch_named(client, "k", **bearer(third))[0] == 201


def test_sessions_of_one_api_key_share_its_idempotency_keys(guarded, key):
    _, secret = key()
    client, browser, another = guarded(), guarded(), guarded()
    signed_in(browser, secret)
    signed_in(another, secret)
    _, made = batch_named(client, "k", **bearer(secret))
    assert batch_named(browser, "k", **HERE) == batch_named(another, "k", **HERE) == (200, made)


def test_an_edit_is_named_within_its_api_key_only(web, guarded, key):
    batch = web.batch()
    (image,) = web.upload(batch, ("a.jpg", b"a"))
    client, edits = guarded(), []
    for _ in range(2):
        _, secret = key()
        headers = {"Idempotency-Key": "k"} | bearer(secret)
        for _ in range(2):
            path = f"/api/v1/images/{image['image_id']}/tags"
            edits.append(client.patch(path, json={"add": ["pet"]}, headers=headers).json["edit_id"])
    assert edits[0] == edits[1] != edits[2] == edits[3]


def test_names_of_batches_made_before_names_had_a_scope_are_still_known(web):
    """They are stored as sent, like those of callers without an API key today."""
    found = web.catalog.get_batch(web.batch())
    old = replace(found, id="bat_old")
    made = web.client.post("/api/v1/batches", json={}, headers={"Idempotency-Key": "new"}).json["id"]
    with web.catalog.database.reading() as connection:
        payload = connection.execute(select(batches.c.payload_hash).where(batches.c.id == made)).scalar_one()
    web.catalog.create_batch(old, payload_hash=payload, idempotency_key="old")
    assert batch_named(web.client, "old") == (200, "bat_old")
