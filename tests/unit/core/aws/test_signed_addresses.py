"""Where a signed address leads: to the bucket's own region, which knows a bucket from its first second on."""

from __future__ import annotations

from urllib.parse import urlsplit

import boto3
import pytest

from ami.aws.images import Ec2Images
from core.aws.clients import Clients
from core.aws.store import S3Store
from tests.cloud import CREDENTIALS


@pytest.fixture
def clients() -> Clients:
    session = boto3.Session(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
    return Clients("eu-central-1", session=session)


def test_addresses_of_aws_name_the_region(clients: Clients) -> None:
    images = Ec2Images(clients, "tagfleet", "photos")
    form = S3Store(clients, input_bucket="photos", output_bucket="photos").upload_form(
        "uploads/b/i", content_type="image/jpeg", max_bytes=1000, expires_s=60
    )
    assert form is not None
    for address in (images.fetch_url("a", 60), images.report_url("b", 60), form.url):
        assert urlsplit(address).hostname == "photos.s3.eu-central-1.amazonaws.com"


def test_addresses_of_an_endpoint_of_ones_own_are_its_own() -> None:
    session = boto3.Session(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
    clients = Clients("eu-central-1", session=session, endpoint="http://minio.example:9000")
    assert Ec2Images(clients, "tagfleet", "photos").fetch_url("a", 60).startswith("http://minio.example:9000/photos/a?")
