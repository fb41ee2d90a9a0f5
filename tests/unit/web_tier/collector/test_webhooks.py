"""Webhooks: which receiver gets which event, how it is signed, and when it is sent again."""

from __future__ import annotations

import json
import threading

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from core.errors import Unavailable
from tagfleet.client.webhooks import verify
from tests.unit.web_tier.receiver import receiving
from web_tier.app import create_app
from web_tier.catalog.database import Database, catalog_url
from web_tier.catalog.tables import webhooks
from web_tier.catalog.webhooks import WebhookCatalog
from web_tier.collector.webhook_sender import RETRY_AFTER_S, WebhookSender
from web_tier.services.serializers import serialize_webhook_event
from web_tier.services.webhook_client import WebhookClient


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def catalog(web) -> WebhookCatalog:
    return web.client.application.extensions["tagfleet"].webhooks


@pytest.fixture
def webhook_client(clock) -> WebhookClient:
    return WebhookClient(allow_private=True, timeout_s=10, clock=clock)


@pytest.fixture
def sender(catalog, webhook_client, clock) -> WebhookSender:
    return WebhookSender(catalog, webhook_client, clock)


@pytest.fixture
def client(web):
    """A client of the same service where webhooks may go to this machine."""
    allowed = web.settings.webhooks.model_copy(update={"allow_private": True})
    app = create_app(web.backend, web.settings.model_copy(update={"webhooks": allowed}), web.clock)
    yield app.test_client()
    app.extensions["tagfleet"].database.close()


def hook(client, receiver, **wanted):
    answer = client.post("/api/v1/webhooks", json={"url": receiver.url, **wanted})
    assert answer.status_code == 201, answer.text
    return answer.json


def ended(web) -> str:
    batch = web.batch()
    web.close(batch)
    return batch


def test_a_batch_that_completes_is_told_once_and_signed(client, web, receiver, sender, clock):
    made = hook(client, receiver)
    batch = ended(web)
    assert (sender.send_due(), sender.send_due()) == (1, 0)
    ((path, headers, body),) = receiver.came
    assert path == "/hook?a=b"
    assert headers["Content-Type"] == "application/json"
    event = verify(made["secret"], headers, body, clock=clock)
    assert event["type"] == "batch.completed"
    assert event["data"]["id"] == batch
    assert event["data"]["request_counts"] == {"total": 0, "completed": 0, "failed": 0, "cancelled": 0}
    (shown,) = client.get("/api/v1/webhooks").json["webhooks"]
    assert (shown["last_status"], shown["last_error"]) == (204, None)
    assert shown["last_delivery_at"] is not None


def test_the_secret_is_shown_once(client, receiver, web):
    made = hook(client, receiver)
    assert made["secret"].startswith("whsec_")
    assert made["secret"] not in client.get("/api/v1/webhooks").text
    assert made["secret"] not in repr(web.client.application.extensions["tagfleet"].webhooks.list_all())


def test_what_ended_before_is_not_told(client, web, receiver, sender, clock):
    ended(web)
    clock.now += 1
    hook(client, receiver)
    assert sender.send_due() == 0


def test_only_the_events_that_were_asked_for(client, web, receiver, sender):
    hook(client, receiver, events=["batch.cancelled"])
    ended(web)
    cancelled = web.batch()
    web.upload(cancelled, ("a.jpg", b"one"))
    assert web.client.post(f"/api/v1/batches/{cancelled}/cancel").status_code == 200
    sender.send_due()
    ((_, _, body),) = receiver.came
    event = json.loads(body)
    assert (event["type"], event["data"]["id"], event["data"]["status"]) == ("batch.cancelled", cancelled, "cancelled")


def test_a_receiver_that_fails_is_tried_again_for_days_under_one_id(client, web, receiver, sender, clock, catalog):
    made = hook(client, receiver)
    ended(web)
    receiver.answers = [500] * 20
    assert sender.send_due() == 1
    for pause in RETRY_AFTER_S:
        clock.now += 0.85 * pause
        assert sender.send_due() == 0, "not before its time"
        clock.now += 0.3 * pause
        assert sender.send_due() == 1
    clock.now += 10 * RETRY_AFTER_S[-1]
    assert sender.send_due() == 0
    assert len(receiver.came) == 1 + len(RETRY_AFTER_S)
    assert len({headers["webhook-id"] for _, headers, _ in receiver.came}) == 1
    assert len({headers["webhook-timestamp"] for _, headers, _ in receiver.came}) == len(receiver.came)
    for _, headers, body in receiver.came:
        sent_at = int(headers["webhook-timestamp"])
        assert verify(made["secret"], headers, body, clock=lambda at=sent_at: at)
    (shown,) = catalog.list_all()
    assert (shown.last_status, shown.last_error) == (500, "it answered 500")


def test_it_arrives_at_last(client, web, receiver, sender, clock):
    hook(client, receiver)
    ended(web)
    receiver.answers = [503, 200]
    sender.send_due()
    clock.now += 6
    assert (sender.send_due(), sender.send_due()) == (1, 0)
    clock.now += 1e5
    assert sender.send_due() == 0


def test_a_receiver_that_says_gone_is_left_alone(client, web, receiver, sender, clock):
    hook(client, receiver)
    ended(web)
    receiver.answers = [410]
    sender.send_due()
    clock.now += 1e6
    assert sender.send_due() == 0


def test_a_receiver_that_fails_holds_up_nobody(client, web, receiver, sender):
    with receiving() as other:
        hook(client, receiver)
        hook(client, other)
        for _ in range(3):
            ended(web)
        receiver.answers = [500] * 3
        sender.send_due()
        assert (len(receiver.came), len(other.came)) == (1, 3)


def test_redirects_are_not_followed(client, web, receiver, sender, catalog):
    with receiving() as inside:
        hook(client, receiver)
        ended(web)
        receiver.answers, receiver.location = [307], inside.url
        sender.send_due()
        assert inside.came == []
    assert "redirects are not followed" in (catalog.list_all()[0].last_error or "")


def test_a_crash_between_claim_and_sending_loses_nothing(client, web, receiver, sender, clock, catalog):
    hook(client, receiver)
    ended(web)
    catalog.announce(serialize_webhook_event, clock.now)
    (due,) = catalog.due(clock.now)
    assert catalog.claim(due, clock.now)
    assert not catalog.claim(due, clock.now), "of two collectors one gets it"
    assert sender.send_due() == 0
    clock.now += 61
    assert sender.send_due() == 1


def test_a_batch_that_is_tried_again_ends_again(client, web, receiver, sender, clock):
    hook(client, receiver)
    batch = web.batch()
    web.upload(batch, ("a.jpg", b"one"))
    web.close(batch)
    web.finish(web.result_of(web.jobs()[0], error="no luck"))
    web.collect()
    sender.send_due()
    clock.now += 5
    assert web.client.post(f"/api/v1/batches/{batch}/retry", json={}).json["retried"] == 1
    assert sender.send_due() == 0
    (again,) = web.jobs()
    web.finish(web.result_of(again).model_copy(update={"attempt": again.attempt}))
    web.collect()
    sender.send_due()
    assert [json.loads(body)["data"]["request_counts"]["failed"] for _, _, body in receiver.came] == [1, 0]


def test_a_webhook_that_was_removed_is_told_nothing_more(client, web, receiver, sender, clock):
    made = hook(client, receiver)
    ended(web)
    receiver.answers = [500]
    sender.send_due()
    clock.now += 3600
    assert client.delete(f"/api/v1/webhooks/{made['id']}").status_code == 204
    assert sender.send_due() == 0
    assert client.delete(f"/api/v1/webhooks/{made['id']}").status_code == 404
    assert client.post(f"/api/v1/webhooks/{made['id']}/test").status_code == 404


def test_old_deliveries_are_forgotten_and_not_sent_again(client, web, receiver, sender, clock, catalog):
    hook(client, receiver)
    ended(web)
    sender.send_due()
    assert catalog.forget(clock.now) == 0
    clock.now += 15 * 86_400
    assert catalog.forget(clock.now) == 1
    assert sender.send_due() == 0


def test_a_test_delivery_tells_what_came_of_it(client, receiver, clock):
    made = hook(client, receiver)
    path = f"/api/v1/webhooks/{made['id']}/test"
    assert client.post(path).json == {"status": 204, "error": None}
    (_, headers, body) = receiver.came[0]
    assert verify(made["secret"], headers, body, clock=clock)["type"] == "webhook.test"
    receiver.answers = [418]
    assert client.post(path).json == {"status": 418, "error": "it answered 418"}


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "https://127.0.0.1/", "https://[::1]/", "http://example.org/", "ftp://example.org/", "x", ""],
)
def test_addresses_that_webhooks_do_not_go_to(web, url):
    answer = web.client.post("/api/v1/webhooks", json={"url": url})
    assert answer.status_code == 422
    assert "url" in answer.json["errors"]
    assert web.get("/webhooks")["webhooks"] == []


def test_an_address_allowed_once_is_judged_anew_at_each_sending(client, web, receiver, catalog, clock):
    """The setting was turned off, or the name now points elsewhere."""
    hook(client, receiver)
    ended(web)
    WebhookSender(catalog, WebhookClient(allow_private=False, timeout_s=10, clock=clock), clock).send_due()
    assert receiver.came == []
    assert "https://" in (catalog.list_all()[0].last_error or "")


def test_an_error_of_the_database_repeats_no_secret(client, receiver, catalog, web):
    hook(client, receiver)
    (webhook,) = catalog.list_all()
    values = {name: getattr(webhook, name) for name in webhook.__dataclass_fields__}
    with pytest.raises(IntegrityError) as caught, web.catalog.database.writing() as connection:
        connection.execute(insert(webhooks), values)
    assert webhook.secret not in str(caught.value)


def test_two_collectors_tell_each_end_once(client, web, receiver, catalog, webhook_client, clock):
    hook(client, receiver)
    for _ in range(10):
        ended(web)
    others = Database(catalog_url(web.settings))
    senders = [WebhookSender(each, webhook_client, clock) for each in (catalog, WebhookCatalog(others))]
    together = threading.Barrier(2)

    def work(sender: WebhookSender) -> None:
        together.wait()
        for _ in range(3):  # one whose announcement was taken from it finds the rest at its next look
            sender.send_due()

    threads = [threading.Thread(target=work, args=(sender,)) for sender in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    others.close()
    told = [json.loads(body)["data"]["id"] for _, _, body in receiver.came]
    assert len(told) == len(set(told)) == 10


def test_the_sender_s_thread_waits_while_the_catalogue_does_not_answer(
    client, web, receiver, catalog, webhook_client, clock
):
    class Away(WebhookCatalog):
        """Does not answer at first, then fails in a way that nobody foresaw, then is itself."""

        looks = 0

        def announce(self, *arguments: object) -> int:
            self.looks += 1
            if self.looks < 3:
                raise (Unavailable("the catalogue is away"), ZeroDivisionError())[self.looks - 1]
            stop.set()
            return super().announce(*arguments)

    hook(client, receiver)
    ended(web)
    stop = threading.Event()
    WebhookSender(Away(web.catalog.database), webhook_client, clock, pause_s=0).run(stop)
    assert receiver.came == [], "it was told to stop before it sent"
    assert len(catalog.due(clock.now)) == 1
