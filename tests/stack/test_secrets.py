"""The catalogue's password comes from Secrets Manager; errors about it do not reveal it."""

from __future__ import annotations

import pytest

from core.aws.clients import Clients
from core.aws.secrets import password_of
from core.errors import Misconfigured
from tests.cloud import Cloud


@pytest.fixture
def clients(cloud: Cloud) -> Clients:
    return cloud.clients


def test_the_password_is_the_field_of_that_name(cloud: Cloud, clients: Clients) -> None:
    name = cloud.name("secret")
    made = clients.of("secretsmanager").create_secret(Name=name, SecretString='{"username": "u", "password": "hush"}')
    assert password_of(clients, made["ARN"]) == "hush"


def test_a_secret_without_it_is_named_and_not_told(cloud: Cloud, clients: Clients) -> None:
    made = clients.of("secretsmanager").create_secret(Name=cloud.name("secret"), SecretString="hush")
    with pytest.raises(Misconfigured, match=r"aws\.catalog_secret\) holds no field password") as caught:
        password_of(clients, made["ARN"])
    assert "hush" not in str(caught.value)


def test_a_secret_that_is_gone_is_one_line(clients: Clients) -> None:
    with pytest.raises(Misconfigured, match="cannot read the secret nowhere: "):
        password_of(clients, "nowhere")
