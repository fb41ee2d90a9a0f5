"""A host's calls to AWS during an update of its Auto Scaling group; and its database's deletion protection."""

from __future__ import annotations

from botocore.exceptions import ClientError

from core.aws.clients import Clients
from core.aws.errors import code_of, translate_errors


def target_health(clients: Clients, targets: str, instance: str) -> str:
    """Return the load balancer's state of an instance, `healthy`, `initial` and so on; "" if it does not know it.

    `targets` is the ARN of a target group. Raises Unavailable, and Misconfigured among it.
    """
    with translate_errors("ask the load balancer about this host", "elasticloadbalancing"):
        answer = clients.of("elbv2").describe_target_health(TargetGroupArn=targets, Targets=[{"Id": instance}])
    return next((one["TargetHealth"]["State"] for one in answer["TargetHealthDescriptions"]), "")


def signal_resource(clients: Clients, stack: str, resource: str, instance: str, *, success: bool) -> bool:
    """Signal CloudFormation whether an instance came up. Returns False if the stack was not waiting for it.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_SignalResource.html
    Raises Unavailable, and Misconfigured among it.
    """
    with translate_errors(f"tell stack {stack} that this host is ready", "cloudformation"):
        try:
            clients.cloudformation.signal_resource(
                StackName=stack,
                LogicalResourceId=resource,
                UniqueId=instance,
                Status="SUCCESS" if success else "FAILURE",
            )
        except ClientError as error:
            if code_of(error) == "ValidationError":  # "…is in UPDATE_COMPLETE state and cannot be signaled"
                return False
            raise
    return True


def protect_database(clients: Clients, id: str, *, on: bool) -> None:
    """Protect the database from deletion, or let it be deleted; a missing one is no error. Raises Unavailable."""
    with translate_errors(f"{'set' if on else 'lift'} the deletion protection of database {id}", "rds"):
        try:
            clients.of("rds").modify_db_instance(DBInstanceIdentifier=id, DeletionProtection=on, ApplyImmediately=True)
        except ClientError as error:
            if not code_of(error).startswith("DBInstanceNotFound"):
                raise
