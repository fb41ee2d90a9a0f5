"""What moto's CloudFormation does otherwise than AWS documents, put right."""

from __future__ import annotations

from moto.cloudformation.models import ChangeSet

_apply = ChangeSet.apply


def apply() -> None:
    ChangeSet.apply = _apply_as_a_whole


def _apply_as_a_whole(change_set: ChangeSet) -> None:
    """An executed change set leaves the stack with its template, parameters and outputs; moto makes resources only.

    "After you execute the change set, CloudFormation updates the specified stack by using the input information that
    was provided when the change set was created." ExecuteChangeSet in the CloudFormation API reference.
    """
    given = dict(change_set.parameters)
    _apply(change_set)
    stack = change_set.stack
    stack.template_dict = change_set.template_dict
    stack.parameters = given
    stack.output_map = stack._create_output_map()
