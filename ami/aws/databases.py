"""The database of a deployment's catalogue on RDS, as far as its deletion is concerned."""

from __future__ import annotations

from botocore.exceptions import ClientError

from core.aws.clients import Clients
from core.aws.errors import code_of, translate_errors


def lift_protection(clients: Clients, id: str) -> None:
    """Let the database be deleted; one that is gone already is no error. Raises Unavailable, Misconfigured among it."""
    with translate_errors(f"lift the deletion protection of database {id}", "rds"):
        try:
            clients.of("rds").modify_db_instance(
                DBInstanceIdentifier=id, DeletionProtection=False, ApplyImmediately=True
            )
        except ClientError as error:
            if not code_of(error).startswith("DBInstanceNotFound"):
                raise
