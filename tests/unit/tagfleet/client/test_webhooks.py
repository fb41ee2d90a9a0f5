"""Verifying webhooks; the first example comes from the Standard Webhooks specification."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from tagfleet.client.webhooks import NotGenuine, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
HEADERS = {
    "Webhook-Id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "Webhook-Timestamp": "1614265330",
    "Webhook-Signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
NOW = 1614265330.0


def check(headers=HEADERS, body=BODY, secret=SECRET, now=NOW):
    return verify(secret, headers, body, clock=lambda: now)


def signed(secret: str, body: bytes) -> dict[str, str]:
    content = b"msg_1.1614265330." + body
    digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), content, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"webhook-id": "msg_1", "webhook-timestamp": "1614265330", "webhook-signature": signature}


def test_the_specification_s_example():
    assert check() == {"test": 2432232314}


def test_one_of_several_signatures_suffices():
    several = f"v2,AAAA v1,!!! v1,AAAA {HEADERS['Webhook-Signature']}"
    assert check({**HEADERS, "Webhook-Signature": several}) == {"test": 2432232314}


@pytest.mark.parametrize("seconds", [-300, 300])
def test_clocks_may_differ_a_little(seconds):
    check(now=NOW + seconds)


@pytest.mark.parametrize(
    "changed",
    [
        {"body": BODY + b" "},
        {"secret": "whsec_" + base64.b64encode(b"another").decode()},
        {"now": NOW + 301},
        {"now": NOW - 301},
        {"headers": HEADERS | {"Webhook-Id": "msg_other"}},
        {"headers": HEADERS | {"Webhook-Timestamp": "1614265331"}},
        {"headers": HEADERS | {"Webhook-Timestamp": "today"}},
        {"headers": HEADERS | {"Webhook-Signature": ""}},
        {"headers": HEADERS | {"Webhook-Signature": HEADERS["Webhook-Signature"].replace("v1", "v2")}},
        {"headers": {name: value for name, value in HEADERS.items() if name != "Webhook-Id"}},
        {"headers": {}},
    ],
)
def test_what_is_not_genuine(changed):
    with pytest.raises(NotGenuine):
        check(**changed)


def test_a_body_is_signed_byte_by_byte():
    body = '{"name":"été"}'.encode()
    assert check(signed(SECRET, body), body) == {"name": "été"}


def test_a_secret_that_is_none_is_the_receiver_s_mistake():
    with pytest.raises(ValueError, match="whsec_"):
        check(secret="whsec_!")
