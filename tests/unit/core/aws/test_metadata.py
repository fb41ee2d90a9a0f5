"""An instance's metadata, over real HTTP."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from core.aws.metadata import Ec2Machine
from core.errors import Unavailable
from tests.metadata import FakeMetadata, serving

LAUNCHED = 1_767_355_200.0  # 2026-01-02T12:00:00Z


@pytest.fixture
def metadata() -> Iterator[FakeMetadata]:
    with serving(FakeMetadata("i-0123456789abcdef0", LAUNCHED)) as fake:
        yield fake


def test_an_instance_knows_its_id_and_when_it_was_launched(metadata: FakeMetadata) -> None:
    machine = Ec2Machine(metadata.environ)
    assert (machine.id, machine.launched_at) == ("i-0123456789abcdef0", LAUNCHED)
    assert len(metadata.requests) == 2, "one token and one document are enough"


def test_notices_are_sentences(metadata: FakeMetadata) -> None:
    machine = Ec2Machine(metadata.environ)
    assert machine.notice() == ""
    assert machine.risk() == ""
    metadata.recommend()
    assert machine.notice() == "", "a recommendation is no interruption: one that came would be told by itself"
    assert machine.risk() == "EC2 may soon end this spot instance (rebalance recommendation at 12:01:00Z)"
    metadata.interrupt()
    assert machine.notice() == "EC2 ends this spot instance at 12:03:10Z"
    metadata.interrupt(action="stop")
    assert machine.notice() == "EC2 stops this spot instance at 12:03:10Z"


@pytest.mark.parametrize(
    "document", ["", "gone fishing", "[]", '{"action": 7}', '{"action": "terminate", "time": "soon"}']
)
def test_a_notice_that_cannot_be_read_is_a_notice(metadata: FakeMetadata, document: str) -> None:
    metadata.documents["meta-data/spot/instance-action"] = document
    assert Ec2Machine(metadata.environ).notice() == "EC2 ends this spot instance"


def test_a_token_that_ran_out_is_renewed(metadata: FakeMetadata) -> None:
    machine = Ec2Machine(metadata.environ)
    assert machine.notice() == ""
    metadata.forget_tokens()
    metadata.interrupt()
    assert machine.notice()


def test_no_answer_is_reported_in_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        machine = Ec2Machine({"AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint}, timeout_s=0.05)
        with pytest.raises(
            Unavailable, match=rf"^the instance metadata service at {endpoint} does not answer \(timed out\)"
        ):
            machine.notice()


def test_metadata_can_be_switched_off(metadata: FakeMetadata) -> None:
    machine = Ec2Machine({**metadata.environ, "AWS_EC2_METADATA_DISABLED": "true"})
    with pytest.raises(Unavailable, match="AWS_EC2_METADATA_DISABLED"):
        machine.notice()
    assert metadata.requests == []


def test_another_service_under_that_address_is_not_believed(metadata: FakeMetadata) -> None:
    metadata.documents["dynamic/instance-identity/document"] = "<html>"
    with pytest.raises(Unavailable, match="does not say which instance this is"):
        _ = Ec2Machine(metadata.environ).id
