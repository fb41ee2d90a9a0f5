"""Options of `tagfleet aws up` become template parameters, and settings become the file that all machines read."""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import replace

import pytest

from ami.aws.account import Image, Network
from config import settings as config
from config.settings import Document, Settings
from core.errors import Misconfigured
from tagfleet.deployment.costs import per_thousand
from tagfleet.deployment.shared_settings import as_toml, differences, fit_for_aws, with_names
from tagfleet.deployment.stack_options import StackOptions, other_subnets, parameters, template_shape

WORKER = Image("ami-1", "worker", "/dev/xvda", "x86_64")
HOST = Image("ami-2", "host", "/dev/sda1", "x86_64")
NETWORK = Network("vpc-1", ("subnet-1a", "subnet-1b"), ("eu-central-1a", "eu-central-1b"), ())
OUTPUTS = {"InputBucket": "in", "OutputBucket": "out"}
ENTRANCE = StackOptions(hosts="two", certificate="arn:aws:acm:eu-central-1:1:certificate/1", domain="Tags.example.org")


def asked(options: StackOptions, present: dict[str, str] | None = None, host: Image | None = None) -> dict[str, str]:
    return parameters(options, present or {}, WORKER, host, NETWORK, config.load({}))


def loaded(text: str) -> Settings:
    return config.load({}, file=Document("settings.toml", text))


def test_a_machine_of_ones_own_needs_an_image_and_subnets() -> None:
    found = asked(StackOptions())
    assert (found["Image"], found["RootDevice"], found["Subnets"]) == ("ami-1", "/dev/xvda", "subnet-1a,subnet-1b")
    assert found["Origins"] == "http://127.0.0.1:8000,http://localhost:8000"
    assert "Hosts" not in found


def test_what_is_not_asked_for_stays_and_what_is_asked_for_changes() -> None:
    present = {"UploadDays": "30", "AlarmEmail": "a@example.org", "Sources": "archive", "Image": "ami-0"}
    found = asked(StackOptions(upload_days=7), present)
    assert found["UploadDays"] == "7"
    assert (found["AlarmEmail"], found["Sources"], found["Image"]) == ("a@example.org", "archive", "ami-1")
    assert template_shape(config.load({}), found).sources == ("archive",)


def test_the_image_of_hosts_that_there_are_not_is_no_old_one() -> None:
    """CloudFormation refuses a parameter whose image is gone, whatever it is used for."""
    present = {"Image": "ami-0", "HostImage": "ami-0", "Hosts": "none"}
    assert asked(StackOptions(), present)["HostImage"] == "ami-1"
    assert asked(StackOptions(), {**present, "Hosts": "one", "HostImage": "ami-2"}, HOST)["HostImage"] == "ami-2"


def test_disks_are_as_large_as_their_images() -> None:
    """EC2 starts no instance whose volume is smaller than its image's."""

    def disk(present: dict[str, str], worker: int, host: int = 0) -> str | None:
        images = replace(WORKER, root_gib=worker), replace(HOST, root_gib=host) if host else None
        return parameters(StackOptions(), present, *images, NETWORK, config.load({})).get("RootGiB")

    assert disk({}, 8) is None
    assert (disk({}, 75), disk({}, 40, host=50), disk({"RootGiB": "100"}, 75)) == ("75", "50", "100")


def test_buckets_of_others_can_be_taken_from_the_workers_again() -> None:
    assert asked(StackOptions(sources=("archive", "attic")))["Sources"] == "archive,attic"
    assert asked(StackOptions(sources=("",)), {"Sources": "archive"})["Sources"] == ""


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            StackOptions(sources=("s3://archive/2024",)),
            "--source s3://archive/2024: give only the bucket's name, archive",
        ),
        (StackOptions(sources=("archive", "Our Photos")), "--source Our Photos: this is not a valid bucket name"),
        (StackOptions(sources=("a" * 64,)), "--source aaaa"),
        (replace(ENTRANCE, domain="https://tags.example.org/"), "--domain https://tags.example.org/: give only a name"),
        (
            replace(ENTRANCE, certificate="tags.example.org"),
            "--certificate tags.example.org: give the ARN of a certificate",
        ),
        (StackOptions(clients="203.0.113.7"), "--clients 203.0.113.7: give addresses such as 203.0.113.0/24"),
        (StackOptions(clients="office"), "--clients office: give addresses such as 203.0.113.0/24"),
        (StackOptions(email="me"), "--email me: give an e-mail address"),
    ],
)
def test_what_cannot_be_is_said_instead_of_left_to_fail_in_the_stack(options: StackOptions, line: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        asked(options, host=HOST)
    assert str(caught.value).startswith(line)


def test_the_alarm_on_spend_rings_at_the_budget() -> None:
    settings = config.load({}, flags={"controller.budget_per_hour": "4.5"})
    assert parameters(StackOptions(), {}, WORKER, None, NETWORK, settings)["SpendPerHour"] == "4.5"


def test_two_hosts_have_their_own_image_and_their_page_its_own_origin() -> None:
    found = asked(ENTRANCE, host=HOST)
    assert (found["HostImage"], found["HostRootDevice"]) == ("ami-2", "/dev/sda1")
    assert found["Origins"] == "https://Tags.example.org"


@pytest.mark.parametrize(
    ("options", "host", "network", "line"),
    [
        (StackOptions(hosts="one"), None, NETWORK, "--hosts one: hosts need their own image"),
        (
            StackOptions(hosts="one"),
            HOST,
            replace(NETWORK, zones=("eu-central-1a",)),
            "--hosts one: the catalogue's database",
        ),
        (
            ENTRANCE,
            HOST,
            replace(NETWORK, subnets=("subnet-1a", "subnet-1b", "subnet-2b")),
            "--hosts two: a load balancer takes one subnet in each zone",
        ),
        (replace(ENTRANCE, domain=None), HOST, NETWORK, "--hosts two: the load balancer uses TLS: give --domain"),
        (replace(ENTRANCE, certificate=None), HOST, NETWORK, "--hosts two: the load balancer uses TLS: give --domain"),
    ],
)
def test_what_hosts_lack_is_said(options: StackOptions, host: Image | None, network: Network, line: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parameters(options, {}, WORKER, host, network, config.load({}))
    assert str(caught.value).startswith(line)


def test_hosts_that_never_say_that_they_serve_are_not_waited_for() -> None:
    silent = replace(HOST, silent=True)
    before = asked(StackOptions(hosts="one"), host=silent)  # nothing waits when they are made
    with pytest.raises(Misconfigured, match="hosts: image ami-2 was baked by an earlier version"):
        asked(StackOptions(), before, silent)
    assert asked(StackOptions(), before, HOST)["HostImage"] == "ami-2"


APART = {
    "HostSubnets": Network("vpc-1", ("subnet-h1", "subnet-h2"), NETWORK.zones, ("subnet-h1", "subnet-h2")),
    "EntranceSubnets": Network("vpc-1", ("subnet-e1", "subnet-e2"), NETWORK.zones, ()),
    "DatabaseSubnets": Network("vpc-1", ("subnet-d1", "subnet-d2"), NETWORK.zones, ("subnet-d1", "subnet-d2")),
}


def test_workers_hosts_load_balancer_and_database_have_subnets_of_their_own() -> None:
    options = replace(ENTRANCE, entrance="internal")
    found = parameters(options, {}, WORKER, HOST, NETWORK, config.load({}), APART)
    assert {name: found[name] for name in ("Subnets", *APART)} == {
        "Subnets": "subnet-1a,subnet-1b",
        "HostSubnets": "subnet-h1,subnet-h2",
        "EntranceSubnets": "subnet-e1,subnet-e2",
        "DatabaseSubnets": "subnet-d1,subnet-d2",
    }
    assert found["EntranceScheme"] == "internal"
    assert "EntranceScheme" not in asked(ENTRANCE, host=HOST)
    assert asked(replace(ENTRANCE, entrance="public"), found, HOST)["EntranceScheme"] == "internet-facing"


def test_subnets_that_were_named_stay_and_all_others_follow_the_workers() -> None:
    before = asked(ENTRANCE, host=HOST) | {"HostSubnets": "subnet-h1,subnet-h2"}
    assert other_subnets(StackOptions(), {}) == {}
    assert other_subnets(StackOptions(subnets=("subnet-9",)), before) == {"HostSubnets": ("subnet-h1", "subnet-h2")}
    assert other_subnets(StackOptions(host_subnets=("subnet-h3",), database_subnets=("subnet-d1",)), before) == {
        "HostSubnets": ("subnet-h3",),
        "DatabaseSubnets": ("subnet-d1",),
    }


@pytest.mark.parametrize(
    ("name", "network", "line"),
    [
        (
            "DatabaseSubnets",
            Network("vpc-1", ("subnet-d1",), ("eu-central-1a",), ()),
            "--hosts two: the catalogue's database needs subnets in two zones, and these are only in eu",
        ),
        (
            "EntranceSubnets",
            Network("vpc-1", ("subnet-e1",), ("eu-central-1a",), ()),
            "--hosts two: a load balancer needs subnets in two zones",
        ),
        (
            "EntranceSubnets",
            Network("vpc-1", ("subnet-e1", "subnet-e3"), ("eu-central-1a", "eu-central-1c"), ()),
            "--hosts two: hosts in eu-central-1b would get no request",
        ),
        (
            "HostSubnets",
            Network("vpc-2", ("subnet-h1",), ("eu-central-1a",), ()),
            "--host-subnet: subnet-h1 are in vpc-2, but the workers' subnets are in vpc-1",
        ),
    ],
)
def test_subnets_that_cannot_work_together_are_refused(name: str, network: Network, line: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        parameters(ENTRANCE, {}, WORKER, HOST, NETWORK, config.load({}), APART | {name: network})
    assert str(caught.value).startswith(line)


def test_the_settings_file_says_what_was_chosen_and_nothing_of_one_machine() -> None:
    own = loaded('home = "/home/me"\nport = 9000\n[controller]\ntick_s = 7\n[pools.x-ray]\ntagger = "resnet50"\n')
    text = as_toml(with_names(fit_for_aws(own), "eu-central-1", "fleet-1", OUTPUTS, ("subnet-1a",)))
    assert {"home", "port", "cache", "host"}.isdisjoint(tomllib.loads(text))
    again = loaded(text)
    assert (again.backend, again.aws.deployment, again.aws.subnets) == ("aws", "fleet-1", "subnet-1a")
    assert (again.controller.tick_s, again.controller.boot_deadline_s) == (7.0, 600.0)
    assert list(again.pools) == ["resnet50", "x-ray"]
    assert {pool.fallback for pool in again.pools.values()} == {""}
    assert as_toml(again) == text


def test_what_changes_in_the_settings_is_told_by_name() -> None:
    before = loaded('[controller]\nbudget_per_hour = 4\n[pools.x-ray]\ntagger = "resnet50"\n')
    after = loaded(
        'home = "/home/me"\n[aws]\noutput_bucket = "out"\n[web]\ncatalog_url = "postgresql://me:secret@db"\n'
    )
    assert not differences(before, before)
    told = differences(before, after)
    assert {line for line in told if not line.startswith("pools.")} == {
        "aws.output_bucket: nothing becomes out",
        "controller.budget_per_hour: 4.0 becomes 0.0",
        "web.catalog_url changes",
    }
    assert "pools.x-ray.tagger: resnet50 becomes nothing" in told


def test_hosts_find_their_catalogue_without_a_password_in_the_file() -> None:
    outputs = OUTPUTS | {"CatalogHost": "db.example", "CatalogSecret": "arn:aws:secretsmanager:1", "Domain": "Tags.org"}
    found = with_names(config.load({}), "eu-central-1", "fleet-1", outputs, (), ("172.31.0.0/20", "2001:db8:1::/64"))
    assert found.web.catalog_url == "postgresql://tagfleet@db.example:5432/tagfleet?sslmode=require"
    assert (found.aws.catalog_secret, found.web.hosts, found.web.https) == (
        "arn:aws:secretsmanager:1",
        "tags.org",
        True,
    )
    assert any(ipaddress.ip_address("172.31.5.6") in network for network in found.web.proxy_networks), "the balancer"
    assert not any(ipaddress.ip_address("172.31.99.6") in network for network in found.web.proxy_networks), (
        "a client in the same private network chooses its address for itself"
    )
    assert not with_names(config.load({}), "eu-central-1", "fleet-1", OUTPUTS, ()).web.trusted_proxies


def test_a_thousand_images() -> None:
    assert per_thousand(0.36, 100) == pytest.approx(0.001)
