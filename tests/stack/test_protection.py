"""Stack and database are protected from deletion, and `down` lifts the protection."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from ami.aws.cloudformation import Change, Stack
from config import settings as config
from tagfleet.deployment.stack_changes import ends_database, steps, unprotect_database
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
        (Change("Modify", "Catalog", "AWS::RDS::DBInstance", "False"), False),
        (Change("Remove", "HostFleet", "AWS::AutoScaling::AutoScalingGroup", ""), False),
    ],
)
def test_what_ends_the_database_is_told_from_what_changes_it(change: Change, ends: bool) -> None:
    assert ends_database([change]) is ends
