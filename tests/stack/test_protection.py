"""Stack and database are protected from deletion, and `down` lifts the protection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ami.aws.cloudformation import Change, ChangeSet, Event, Stack, StackFailed
from config import settings as config
from core.errors import TagfleetError, Unavailable
from tagfleet.deployment import stack_changes
from tagfleet.deployment.stack_changes import Step, carry_out, ends_database, steps, unprotect_database
from tests.cloud import Cloud
from tests.stack.commands import deployment_in, image_of
from tests.stack.test_template import PARAMETERS, filled_in

DATABASE = {
    "Type": "AWS::RDS::DBInstance",
    "Properties": {
        "Engine": "postgres",
        "DBInstanceClass": "db.t4g.micro",
        "AllocatedStorage": "20",
        "MasterUsername": "tagfleet",
        "MasterUserPassword": "password-of-a-test",
    },
}


@pytest.mark.parametrize(("protected", "wanted"), [("yes", True), ("no", False)])
def test_the_database_is_protected_unless_it_is_just_being_made(protected: str, wanted: bool) -> None:
    assert filled_in(Hosts="one").properties("Catalog")["DeletionProtection"] is True
    found = filled_in(Hosts="one", Protected=protected)
    assert found.properties("Catalog")["DeletionProtection"] is wanted


def test_a_new_database_is_protected_once_all_else_has_succeeded() -> None:
    """Protected from its first moment, it would remain where a later part of the same change fails."""
    wanted = PARAMETERS | {"Hosts": "one", "Protected": "no"}
    told = [(step.parameters["Protected"], step.asked) for step in steps(config.load({}), wanted, new=True)]
    assert told == [("no", True), ("yes", False)]
    (only,) = steps(config.load({}), wanted | {"Protected": "yes"}, new=False)
    assert only.parameters["Protected"] == "yes"


def test_a_stack_that_stands_is_not_deleted_but_by_down(second_cloud: Cloud, tmp_path: Path) -> None:
    run = deployment_in(second_cloud, "guarded", tmp_path)
    assert run("aws", "up", "--image", image_of(second_cloud), "--yes").exit_code == 0
    with pytest.raises(ClientError, match="TerminationProtection is enabled"):
        second_cloud.client("cloudformation").delete_stack(StackName="guarded")
    assert run("aws", "down", "--drain-s", "0", typed="n\n").output.endswith("nothing was deleted\n")
    with pytest.raises(ClientError, match="TerminationProtection is enabled"):
        second_cloud.client("cloudformation").delete_stack(StackName="guarded")
    assert "stack guarded is gone" in run("aws", "down", "--drain-s", "0", "--yes").output


def test_the_protection_of_the_database_is_lifted(cloud: Cloud) -> None:
    name = cloud.name("kept")
    template = json.dumps({"Resources": {"Catalog": DATABASE}})
    cloud.client("cloudformation").create_stack(StackName=name, TemplateBody=template)
    stack = Stack(cloud.clients, name)
    database, rds = stack.physical_id("Catalog"), cloud.client("rds")
    rds.modify_db_instance(DBInstanceIdentifier=database, DeletionProtection=True)  # moto's stacks pass it over
    with pytest.raises(ClientError, match=r"(?i)deletion ?protection|protected"):
        rds.delete_db_instance(DBInstanceIdentifier=database, SkipFinalSnapshot=True)
    unprotect_database(cloud.clients, stack)
    rds.delete_db_instance(DBInstanceIdentifier=database, SkipFinalSnapshot=True)
    unprotect_database(cloud.clients, stack)  # gone meanwhile


@pytest.mark.parametrize(
    ("change", "ends"),
    [
        (Change("Remove", "Catalog", "AWS::RDS::DBInstance", ""), True),
        (Change("Modify", "Catalog", "AWS::RDS::DBInstance", "True"), True),
        (Change("Modify", "Catalog", "AWS::RDS::DBInstance", "Conditional"), True),
        (Change("Modify", "Catalog", "AWS::RDS::DBInstance", "False"), False),
        (Change("Modify", "CatalogSubnets", "AWS::RDS::DBSubnetGroup", "Conditional"), False),
        (Change("Remove", "HostFleet", "AWS::AutoScaling::AutoScalingGroup", ""), False),
    ],
)
def test_what_ends_the_database_is_told_from_what_changes_it(change: Change, ends: bool) -> None:
    assert ends_database([change]) is ends


class Updating:
    """A stack whose update leaves this database, or fails."""

    name = "updated"

    def __init__(self, after: str, failure: TagfleetError | None) -> None:
        self._database, self._after, self._failure = "db-1", after, failure

    def plan(self, _template: object, _parameters: object) -> ChangeSet:
        return ChangeSet("plan-1", (Change("Modify", "Catalog", "AWS::RDS::DBInstance", "Conditional"),), creates=False)

    def execute(self, _plan: ChangeSet) -> Iterator[Event]:
        self._database = self._after
        if self._failure:
            raise self._failure
        yield from ()

    def physical_id(self, _resource: str) -> str:
        return self._database

    def state(self) -> None:
        return None


@pytest.mark.parametrize(
    ("after", "failure", "calls"),
    [
        ("db-1", None, [("db-1", False), ("db-1", True)]),
        ("db-2", None, [("db-1", False)]),
        ("", None, [("db-1", False)]),
        ("db-1", StackFailed("rolled back"), [("db-1", False), ("db-1", True)]),
        ("db-1", Unavailable("the update may still run"), [("db-1", False)]),
    ],
)
def test_a_database_that_an_update_kept_is_protected_again(
    monkeypatch: pytest.MonkeyPatch, after: str, failure: TagfleetError | None, calls: list[tuple[str, bool]]
) -> None:
    found: list[tuple[str, bool]] = []
    monkeypatch.setattr(stack_changes, "protect_database", lambda _, database, *, on: found.append((database, on)))
    stack: Any = Updating(after, failure)
    clients: Any = None
    with pytest.raises(type(failure)) if failure else nullcontext():
        carry_out(clients, stack, None, [Step("{}", {})], lambda _: None, lambda _: True)
    assert found == calls


def test_a_database_that_cannot_be_protected_again_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object, _id: str, *, on: bool) -> None:
        if on:
            raise Unavailable("it is being modified")

    monkeypatch.setattr(stack_changes, "protect_database", refuse)
    said: list[str] = []
    stack: Any = Updating("db-1", None)
    clients: Any = None
    carry_out(clients, stack, None, [Step("{}", {})], said.append, lambda _: True)
    assert said[-1] == "warning: database db-1 is not protected from deletion: it is being modified"
