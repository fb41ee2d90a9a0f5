"""Whether a policy of IAM allows a request: as much of IAM as the template's policies use.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

Context = Mapping[str, str]


def allowed(policies: Sequence[Mapping[str, Any]], action: str, resource: str, context: Context) -> bool:
    """An explicit deny wins; without an allow it is denied."""
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in policy["Statement"]
        if _any(action.lower(), [each.lower() for each in listed(statement["Action"])])
        and _any(resource, listed(statement["Resource"]))
        and _hold(statement.get("Condition", {}), context)
    }
    return effects == {"Allow"}


def listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _any(text: str, patterns: Sequence[str]) -> bool:
    return any(_matches(text, pattern) for pattern in patterns)


def _matches(text: str, pattern: str) -> bool:
    parts = (".*" if each == "*" else "." if each == "?" else re.escape(each) for each in pattern)
    return re.fullmatch("".join(parts), text) is not None


def _hold(conditions: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    """Every key of every operator; a key that the request does not have does not hold."""
    return all(
        key in context and _holds(operator, context[key], listed(wanted))
        for operator, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _holds(operator: str, given: str, wanted: Sequence[str]) -> bool:
    if operator in ("StringEquals", "Bool"):
        return given in wanted
    assert operator in ("ArnEquals", "ArnLike", "StringLike"), f"the tests know no {operator}"
    return _any(given, wanted)
