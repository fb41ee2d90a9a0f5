"""Correct moto's CloudFormation where it differs from AWS's documentation."""

from __future__ import annotations

from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import ChangeSet
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult

_apply = ChangeSet.apply
_delete_stack = CloudFormationResponse.delete_stack


def apply() -> None:
    """Replace moto's functions by those of this module."""
    ChangeSet.apply = _apply_as_a_whole
    CloudFormationResponse.update_termination_protection = _update_termination_protection
    CloudFormationResponse.delete_stack = _delete_unless_protected


def _update_termination_protection(response: CloudFormationResponse) -> ActionResult:
    """Serve UpdateTerminationProtection, which moto lacks (CloudFormation API reference)."""
    stack = response.cloudformation_backend.get_stack(response._get_param("StackName"))
    stack.enable_termination_protection = str(response._get_param("EnableTerminationProtection")).lower() == "true"
    return ActionResult({"StackId": stack.stack_id})


def _delete_unless_protected(response: CloudFormationResponse) -> ActionResult:
    """ "If a user attempts to delete a stack with termination protection enabled, the operation fails and the stack
    remains unchanged." UpdateTerminationProtection in the CloudFormation API reference.
    """
    name = response._get_param("StackName")
    stacks = response.cloudformation_backend.stacks.values()
    if any(stack.enable_termination_protection for stack in stacks if name in (stack.name, stack.stack_id)):
        raise ValidationError(message=f"Stack [{name}] cannot be deleted while TerminationProtection is enabled")
    return _delete_stack(response)


def _apply_as_a_whole(change_set: ChangeSet) -> None:
    """Update the stack's template, parameters and outputs too; moto makes the resources only.

    "After you execute the change set, CloudFormation updates the specified stack by using the input information that
    was provided when the change set was created." ExecuteChangeSet in the CloudFormation API reference.
    """
    given = dict(change_set.parameters)
    _apply(change_set)
    stack = change_set.stack
    stack.template_dict = change_set.template_dict
    stack.parameters = given
    stack.output_map = stack._create_output_map()
