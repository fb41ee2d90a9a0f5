"""Resolve a template as CloudFormation does, as far as the tests need it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_NOTHING = object()


@dataclass(frozen=True)
class Resolved:
    """`physical` are the ids that resources got; a resource without one is called by its logical name."""

    template: Mapping[str, Any]
    parameters: Mapping[str, str]
    name: str
    account: str = "123456789012"
    region: str = "eu-central-1"
    physical: Mapping[str, str] = field(default_factory=dict)

    def properties(self, logical: str) -> dict[str, Any]:
        return self.value(self.template["Resources"][logical].get("Properties", {}))  # type: ignore[no-any-return]

    def there(self) -> list[str]:
        """The resources whose condition holds."""
        return [
            logical
            for logical, resource in self.template["Resources"].items()
            if "Condition" not in resource or self.holds(resource["Condition"])
        ]

    def holds(self, condition: str) -> bool:
        return bool(self.value(self.template["Conditions"][condition]))

    def value(self, node: Any) -> Any:
        if isinstance(node, list):
            return [found for item in node if (found := self.value(item)) is not _NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            key, inner = next(iter(node.items()))
            if key == "Ref":
                return self._ref(inner)
            if key.startswith("Fn::"):
                return self._function(key.removeprefix("Fn::"), inner)
        return {key: found for key, item in node.items() if (found := self.value(item)) is not _NOTHING}

    def _function(self, name: str, inner: Any) -> Any:
        if name == "If":
            return self.value(inner[1] if self.holds(inner[0]) else inner[2])
        if name == "GetAtt":
            return self._attribute(*inner)
        given = self.value(inner)
        if name == "Sub":
            text, values = (given, {}) if isinstance(given, str) else given
            return re.sub(r"\$\{([^}]+)\}", lambda found: str(self._named(found[1], values)), text)
        if name == "Equals":
            return str(given[0]) == str(given[1])
        if name == "Split":
            return given[1].split(given[0])
        if name == "Join":
            return given[0].join(given[1])
        if name == "Not":
            return not given[0]
        assert name == "Base64", f"the tests know no Fn::{name}"
        return given

    def _named(self, name: str, values: Mapping[str, Any]) -> Any:
        if name in values:
            return values[name]
        return self._attribute(*name.split(".", 1)) if "." in name else self._ref(name)

    def _ref(self, name: str) -> Any:
        pseudo = {
            "AWS::StackName": self.name,
            "AWS::AccountId": self.account,
            "AWS::Region": self.region,
            "AWS::Partition": "aws",
            "AWS::NoValue": _NOTHING,
        }
        if name in pseudo:
            return pseudo[name]
        if name in self.template["Parameters"]:
            parameter = self.template["Parameters"][name]
            value = self.parameters.get(name, parameter.get("Default"))
            return value.split(",") if "List" in parameter["Type"] and isinstance(value, str) else value
        kind, own = self._kind(name)
        if kind == "AWS::S3::Bucket":
            return self.value(own["BucketName"])
        if kind == "AWS::SNS::Topic":
            return f"arn:aws:sns:{self.region}:{self.account}:{self.value(own['TopicName'])}"
        return self.physical.get(name, name)

    def _attribute(self, name: str, attribute: str) -> str:
        kind, own = self._kind(name)
        here = f"{self.region}:{self.account}"
        if kind == "AWS::SQS::Queue":
            queue = self.value(own["QueueName"])
            return queue if attribute == "QueueName" else f"arn:aws:sqs:{here}:{queue}"
        if kind == "AWS::S3::Bucket":
            return f"arn:aws:s3:::{self.value(own['BucketName'])}"
        if kind == "AWS::Logs::LogGroup":
            return f"arn:aws:logs:{here}:log-group:{self.value(own['LogGroupName'])}:*"
        if kind == "AWS::IAM::Role":
            return f"arn:aws:iam::{self.account}:role/{self.physical.get(name, name)}"
        if kind == "AWS::IAM::InstanceProfile":
            return f"arn:aws:iam::{self.account}:instance-profile/{self.physical.get(name, name)}"
        return str(self.physical.get(name, name))

    def _kind(self, name: str) -> tuple[str, Mapping[str, Any]]:
        resource = self.template["Resources"][name]
        return resource["Type"], resource.get("Properties", {})
