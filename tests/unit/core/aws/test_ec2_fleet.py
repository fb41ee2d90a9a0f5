"""What EC2 answers now and then, and what becomes of it. What every fleet does is in `tests/contract`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from config import settings as config
from core.aws.fleet import Ec2Fleet, open_fleet
from core.errors import Misconfigured, Unavailable
from core.storage.ports import Cause, InstanceState, Launch, Offering
from tests.cloud import Cloud
from tests.contract.ec2 import CHOICES, Ec2Fleets, impatient


@pytest.fixture
def made(cloud: Cloud):
    made = Ec2Fleets(cloud)
    yield made
    cloud.ec2(made.deployment, describe_error="", hidden_s=0)
    fleet = made.open()
    fleet.terminate([one.id for one in fleet.instances()])


@pytest.fixture
def fleet(made: Ec2Fleets) -> Ec2Fleet:
    return made.open()


def described(made: Ec2Fleets, id: str) -> dict:
    answer = made.cloud.client("ec2").describe_instances(InstanceIds=[id])
    return answer["Reservations"][0]["Instances"][0]


@pytest.fixture
def launch(made: Ec2Fleets) -> Callable[..., Launch]:
    """By an offering's place in the list; tokens are an account's, and so is the server that all tests share."""

    def ask(fleet: Ec2Fleet, count: int, token: str, number: int = 0) -> Launch:
        offering = fleet.offerings("resnet50")[number]
        return fleet.launch("resnet50", count, f"{token}-{made.deployment}", offering)

    return ask


def test_what_is_asked_for(made: Ec2Fleets, fleet: Ec2Fleet, launch) -> None:
    spot, on_demand = (launch(fleet, 1, f"asked-{n}", n).instances[0] for n in (0, 2))
    seen = described(made, spot.id)
    assert seen["InstanceLifecycle"] == "spot"
    assert seen["SubnetId"] == made.subnets[0]
    assert seen["InstanceType"] == "g4dn.xlarge"
    assert seen["MetadataOptions"]["HttpTokens"] == "required"
    assert seen["MetadataOptions"]["InstanceMetadataTags"] == "enabled", "by its tags a worker knows who launched it"
    tags = {tag["Key"]: tag["Value"] for tag in seen["Tags"] if not tag["Key"].startswith("aws:")}
    price = tags.pop("tagfleet:price")
    assert float(price) == spot.price
    assert tags == {
        "Name": f"{made.deployment}-resnet50",
        "tagfleet:deployment": made.deployment,
        "tagfleet:pool": "resnet50",
        "tagfleet:token": f"asked-0-{made.deployment}",
    }
    behaviour = made.cloud.client("ec2").describe_instance_attribute(
        InstanceId=spot.id, Attribute="instanceInitiatedShutdownBehavior"
    )
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    assert "InstanceLifecycle" not in described(made, on_demand.id)
    assert (spot.market, on_demand.market, on_demand.price) == ("spot", "on-demand", 0.526)


def test_offerings_come_in_the_order_of_the_settings_in_each_zone(made: Ec2Fleets, fleet: Ec2Fleet) -> None:
    found = fleet.offerings("resnet50")
    zones = list(dict.fromkeys(one.zone for one in found))
    assert len(zones) == 2
    assert [(one.type, one.market, one.zone) for one in found] == [
        (*choice.split(":"), zone) for choice in CHOICES for zone in zones
    ]
    assert all(one.price <= 0.526 for one in found), "spot never counts as dearer than on-demand"
    assert fleet.offerings("no-such-pool") == []


@pytest.mark.parametrize(
    ("code", "left"),
    [
        ("InsufficientInstanceCapacity", ["spot b", "on-demand a", "on-demand b"]),
        ("Unsupported", ["spot b", "on-demand a", "on-demand b"]),
        ("MaxSpotInstanceCountExceeded", ["on-demand a", "on-demand b"]),
        ("UnfulfillableCapacity", ["spot b", "on-demand a", "on-demand b"]),
        ("UnfulfillableCapacity@500", ["spot b", "on-demand a", "on-demand b"]),
        ("InsufficientCapacityOnHost", ["spot b", "on-demand a", "on-demand b"]),
        ("InsufficientAddressCapacity@500", ["spot b", "on-demand a", "on-demand b"]),
        ("Server.InsufficientInstanceCapacity@500", ["spot b", "on-demand a", "on-demand b"]),
        ("InsufficientVolumeCapacity", ["spot b", "on-demand a", "on-demand b"]),
        ("VolumeLimitExceeded", ["on-demand a", "on-demand b"]),
    ],
)
def test_lack_of_capacity_sets_one_zone_aside_and_a_quota_all(
    made: Ec2Fleets,
    fleet: Ec2Fleet,
    code: str,
    left: list[str],
    launch,
) -> None:
    made.cloud.ec2(made.deployment, sold_out=[f"*:*:spot={code}"])
    fell = launch(fleet, 2, "token")
    assert (fell.instances, fell.shortfall, fell.cause) == ([], 2, Cause.CAPACITY)
    assert code.removesuffix("@500") in fell.reason
    assert [f"{one.market} {one.zone[-1]}" for one in fleet.offerings("resnet50")] == left
    made.pass_time(181)
    assert len(fleet.offerings("resnet50")) == 4


def test_spot_falls_back_to_on_demand_when_the_quota_of_cores_is_used_up_too(
    made: Ec2Fleets, fleet: Ec2Fleet, launch
) -> None:
    made.cloud.ec2(made.deployment, sold_out=["*:*:on-demand=VcpuLimitExceeded"])
    assert "Service Quotas" in launch(fleet, 1, "token", 2).reason
    assert [one.market for one in fleet.offerings("resnet50")] == ["spot", "spot"]


def test_part_of_a_launch_is_taken_and_the_rest_is_a_shortfall(made: Ec2Fleets, fleet: Ec2Fleet) -> None:
    made.cloud.ec2(made.deployment, left=2)
    offering = fleet.offerings("resnet50")[0]
    part = fleet.launch("resnet50", 5, "part", offering)
    assert (len(part.instances), part.shortfall, part.cause) == (2, 3, Cause.CAPACITY)
    assert offering not in fleet.offerings("resnet50")
    assert len(fleet.launch("resnet50", 5, "part", offering).instances) == 2, "a replay finds them again"
    assert len(fleet.instances()) == 2


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        ("UnauthorizedOperation", "may not ec2:RunInstances; add that to the policy of the role"),
        ("InvalidAMIID.NotFound", "bake one (`tagfleet ami bake`), then run `tagfleet aws up`"),
        ("InvalidSubnetID.NotFound", "run `tagfleet aws up`"),
        ("InvalidParameterValue", "AWS refuses it: InvalidParameterValue"),
    ],
)
def test_what_somebody_must_mend_is_one_line_that_says_how(
    made: Ec2Fleets,
    fleet: Ec2Fleet,
    code: str,
    advice: str,
    launch,
) -> None:
    made.cloud.ec2(made.deployment, launch_error=code)
    fell = launch(fleet, 1, "token")
    assert (fell.shortfall, fell.cause) == (1, Cause.LASTING)
    assert advice in fell.reason
    assert "\n" not in fell.reason
    assert len(fleet.offerings("resnet50")) == 4, "no other offering would help"


def test_a_launch_template_that_is_gone_is_named(made: Ec2Fleets, fleet: Ec2Fleet, launch) -> None:
    name = f"{made.deployment}-resnet50"
    made.cloud.client("ec2").delete_launch_template(LaunchTemplateName=name)
    fell = launch(fleet, 1, "token")
    assert fell.cause is Cause.LASTING
    assert f"there is no launch template {name} in this region; run `tagfleet aws up`" in fell.reason


def test_an_answer_that_is_lost_launches_once(made: Ec2Fleets, fleet: Ec2Fleet) -> None:
    made.cloud.ec2(made.deployment, lose_answers=True)
    offering = fleet.offerings("resnet50")[0]
    with pytest.raises(Unavailable, match="safe to try again"):
        fleet.launch("resnet50", 2, "lost", offering)
    made.cloud.ec2(made.deployment, lose_answers=False)
    assert len(fleet.launch("resnet50", 2, "lost", offering).instances) == 2
    assert len(fleet.instances()) == 2


def test_a_token_that_comes_with_another_request_finds_what_its_first_one_launched(fleet: Ec2Fleet, launch) -> None:
    [first] = launch(fleet, 1, "twice").instances
    again = launch(fleet, 2, "twice", 1)
    assert [one.id for one in again.instances] == [first.id]
    assert (again.shortfall, again.cause) == (1, Cause.FAILURE)
    assert len(fleet.instances()) == 1


def test_a_list_that_fails_is_no_empty_list(made: Ec2Fleets, fleet: Ec2Fleet, launch) -> None:
    launch(fleet, 1, "token")
    made.cloud.ec2(made.deployment, describe_error="InternalError")
    with pytest.raises(Unavailable, match="cannot list the instances"):
        fleet.instances()


def test_a_new_instance_may_be_missing_from_the_list_for_a_while(made: Ec2Fleets, fleet: Ec2Fleet, launch) -> None:
    made.cloud.ec2(made.deployment, hidden_s=20)
    [one] = launch(fleet, 1, "token").instances
    assert fleet.instances() == [], "the ledger's intent stands for it until EC2 lists it"
    made.pass_time(21)
    assert [each.id for each in fleet.instances()] == [one.id]


def test_one_that_was_listed_and_is_missing_now_is_kept_for_a_while(made: Ec2Fleets, fleet: Ec2Fleet, launch) -> None:
    [one] = launch(fleet, 1, "token").instances
    assert len(fleet.instances()) == 1
    made.cloud.ec2(made.deployment, hidden_s=10_000)
    assert [each.id for each in fleet.instances()] == [one.id]
    made.pass_time(301)
    assert fleet.instances() == []


def test_a_list_of_several_pages_is_read_to_its_end(made: Ec2Fleets, launch) -> None:
    """moto's pages are of reservations, EC2's of instances: in both, a page is not the whole."""
    fleet = made.open(page=3)
    for number in range(7):
        launch(fleet, 1, f"page-{number}")
    assert len(fleet.instances()) == 7


def test_an_instance_that_was_stopped_is_none_that_works(made: Ec2Fleets, fleet: Ec2Fleet, launch) -> None:
    [one] = launch(fleet, 1, "token", 2).instances
    made.cloud.client("ec2").stop_instances(InstanceIds=[one.id])
    assert [each.state for each in fleet.instances()] == [InstanceState.STOPPED]
    fleet.terminate([one.id])
    assert [each.state for each in fleet.instances()] == [InstanceState.GONE]


def test_ids_that_ec2_does_not_know_keep_no_other_alive(fleet: Ec2Fleet, launch) -> None:
    ids = [one.id for one in launch(fleet, 2, "token").instances]
    fleet.terminate(["i-00000000000000000", ids[0], "i-0123456789abcdef0", "rubbish", ids[1]])
    assert {one.state for one in fleet.instances()} == {InstanceState.GONE}


def test_one_that_somebody_protected_keeps_no_other_alive(fleet: Ec2Fleet, cloud: Cloud, launch) -> None:
    ids = [one.id for one in launch(fleet, 3, "token").instances]
    ec2 = cloud.client("ec2")
    ec2.modify_instance_attribute(InstanceId=ids[1], DisableApiTermination={"Value": True})
    with pytest.raises(Misconfigured, match=rf"cannot end {ids[1]}: .*protected"):
        fleet.terminate(ids)
    assert [one.id for one in fleet.instances() if one.state is not InstanceState.GONE] == [ids[1]]
    ec2.modify_instance_attribute(InstanceId=ids[1], DisableApiTermination={"Value": False})
    fleet.terminate(ids)


def test_where_ec2_takes_an_instance_back_the_next_one_is_launched_elsewhere(
    made: Ec2Fleets, fleet: Ec2Fleet, launch
) -> None:
    [one] = launch(fleet, 1, "token").instances
    fleet.instances()
    made.cloud.ec2(made.deployment, interrupt=[one.id])
    assert [each.state for each in fleet.instances()] == [InstanceState.GONE]
    assert one.zone not in [each.zone for each in fleet.offerings("resnet50") if each.market == "spot"]


def test_one_that_is_taken_back_before_it_was_listed_sets_its_offering_aside_too(
    made: Ec2Fleets, fleet: Ec2Fleet, launch
) -> None:
    [one] = launch(fleet, 1, "token").instances
    made.cloud.ec2(made.deployment, interrupt=[one.id])
    fleet.instances()
    assert one.zone not in [each.zone for each in fleet.offerings("resnet50") if each.market == "spot"]


@pytest.mark.parametrize("code", ["InsufficientPrivileges", "RequestLimitExceeded", "InvalidCapacityReservationId"])
def test_what_only_sounds_like_a_lack_of_capacity_sets_nothing_aside(
    made: Ec2Fleets, fleet: Ec2Fleet, launch, code: str
) -> None:
    made.cloud.ec2(made.deployment, launch_error=code)
    with suppress(Unavailable):
        assert launch(fleet, 1, "token").cause is Cause.LASTING
    assert len(fleet.offerings("resnet50")) == 4


def test_two_deployments_do_not_see_each_other(made: Ec2Fleets, fleet: Ec2Fleet, cloud: Cloud, launch) -> None:
    launch(fleet, 1, "token")
    assert Ec2Fleets(cloud).open().instances() == []


def test_a_host_that_bears_the_deployments_name_is_no_worker(made: Ec2Fleets, fleet: Ec2Fleet, cloud: Cloud) -> None:
    tags = [{"Key": "tagfleet:deployment", "Value": made.deployment}]
    cloud.client("ec2").run_instances(
        ImageId="ami-12345678",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    assert fleet.instances() == []


def test_the_settings_make_a_fleet(cloud: Cloud, made: Ec2Fleets) -> None:
    flags = {
        "aws.deployment": made.deployment,
        "aws.subnets": " ".join(made.subnets),
        "aws.offerings": "c7i.xlarge:on-demand",
        "aws.prices": "c7i.xlarge:0.2",
        "pools.florence2.tagger": "florence2",
        "pools.florence2.offerings": "g5.xlarge:spot g5.xlarge:on-demand",
    }
    fleet = open_fleet(impatient(cloud.endpoint), config.load({}, flags=flags))
    zones = [one.zone for one in fleet.offerings("resnet50")]
    assert fleet.offerings("resnet50")[0] == Offering("c7i.xlarge", zones[0], "on-demand", 0.2)
    assert [one.market for one in fleet.offerings("florence2")] == ["spot", "spot", "on-demand", "on-demand"]


def test_a_type_without_a_price_is_refused_with_the_setting_that_says_it(cloud: Cloud) -> None:
    settings = config.load({}, flags={"aws.offerings": "z9.huge:spot"})
    with pytest.raises(Misconfigured, match=r'z9\.huge: set it with aws\.prices = "z9\.huge:'):
        open_fleet(impatient(cloud.endpoint), settings)


@pytest.mark.parametrize("given", ["g4dn.xlarge", "g4dn.xlarge:cheap", "g4dn.xlarge spot", ""])
def test_offerings_that_cannot_be_read_are_refused(given: str) -> None:
    with pytest.raises(config.BadSetting, match=r"aws\.offerings"):
        config.load({}, flags={"aws.offerings": given})


def test_a_subnet_that_is_gone_is_named(made: Ec2Fleets) -> None:
    made.subnets = ["subnet-00000000"]
    with pytest.raises(Misconfigured, match="subnet-00000000"):
        made.open().offerings("resnet50")
