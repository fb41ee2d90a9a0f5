"""Renders the CloudFormation template of a deployment from ami/template/*.yaml.

Each of those files has one subject. Beside CloudFormation's own short tags they understand:

- a key or an entry of a resource whose name contains `<Pool>` is repeated for each pool, and one with `<OtherPool>`
  for each pool but the first;
- `Each::Pool`, `Each::Subnet`, `Each::Source` in a list: its value, once for each of them;
- `Json::Sub`: its value as a string of JSON, in which `${…}` is filled in;
- `<name>`: a value known here; if it is the whole string, it keeps its type.

Pure but for reading those files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from string import Template
from typing import Any

import yaml

from core.errors import TagfleetError
from core.storage import layout

_SUBJECTS = (
    "parameters",
    "buckets",
    "queues",
    "policies",
    "roles",
    "workers",
    "hosts",
    "entrance",
    "alarms",
    "dashboard",
    "outputs",
)
_PLACEHOLDER = re.compile(r"<([A-Za-z][A-Za-z_]*)>")
MOST_POOLS = 10
"""The alarm on spend adds up the pools, and CloudWatch takes ten metrics in one alarm."""
_POOL_CHARACTERS = 39
"""SQS takes 80: a deployment's 30, and what `-jobs-` and `-dead` add."""
_INLINE_BYTES = 51_200
"""The largest template that can be sent with the request; a larger one must be in S3."""


@dataclass(frozen=True)
class TemplateOptions:
    """The values that the template's text depends on; all others are parameters. The first pool is the default one."""

    pools: Sequence[str]
    namespace: str
    """Of the fleet's metrics in CloudWatch."""
    visibility_timeout_s: int = 60
    max_receives: int = 10
    subnets: Sequence[str] = ()
    sources: Sequence[str] = ()
    """Other people's buckets whose images workers may read in place."""

    def with_pools(self, pools: Sequence[str]) -> TemplateOptions:
        return replace(self, pools=pools)


def render(shape: TemplateOptions) -> dict[str, Any]:
    """Return the template. Raises TagfleetError for pools that AWS would refuse, or take for something else."""
    _check(shape.pools)
    whole: dict[str, Any] = {}
    for subject in _SUBJECTS:
        for section, content in _Expansion(shape).of(_read(subject)).items():
            if isinstance(content, dict):
                whole.setdefault(section, {}).update(content)
            else:
                whole[section] = content
    return whole


def body(template: Mapping[str, Any]) -> str:
    """Return the template as compact JSON, which CloudFormation takes as well as YAML."""
    return json.dumps(template, separators=(",", ":"), ensure_ascii=False)


def fits_inline(text: str) -> bool:
    """Return whether CloudFormation takes this template with the request itself."""
    return len(text.encode()) <= _INLINE_BYTES


def logical_id(pool: str) -> str:
    """Return `efficientnet-lite0` as `EfficientnetLite0`: CloudFormation's names have letters and digits only."""
    return "".join(part.capitalize() for part in pool.split("-"))


def _check(pools: Sequence[str]) -> None:
    if len({logical_id(pool) for pool in pools}) < len(pools):
        raise TagfleetError(f"the pools {', '.join(pools)} cannot be told apart in a template; rename one")
    if len(pools) > MOST_POOLS:
        raise TagfleetError(
            f"{len(pools)} pools are more than the {MOST_POOLS} of one deployment; make another one with --deployment"
        )
    for pool in pools:
        if len(pool) > _POOL_CHARACTERS:
            raise TagfleetError(
                f"the pool's name {pool} is longer than the {_POOL_CHARACTERS} letters that a queue takes"
            )
        if pool == "host":
            raise TagfleetError(
                "a pool cannot be called 'host' on AWS: 'host' is what the launch template of hosts is called"
            )
        if f"{pool}-dead" in pools:
            raise TagfleetError(
                f"the pool '{pool}-dead' would have the queue of the dead letters of '{pool}'; rename one"
            )


class _Expansion:
    def __init__(self, shape: TemplateOptions) -> None:
        default = shape.pools[0]
        self._known: dict[str, Any] = {
            "DefaultPool": logical_id(default),
            "default_pool": default,
            "namespace": shape.namespace,
            "visibility": shape.visibility_timeout_s,
            "receives": shape.max_receives,
            "worker_user_data": _user_data("user_data.yaml"),
            "host_user_data": _user_data("host_user_data.yaml"),
        }
        self._each: dict[str, list[dict[str, Any]]] = {
            "Each::Pool": [
                {"Pool": logical_id(pool), "pool": pool, "number": number} for number, pool in enumerate(shape.pools)
            ],
            "Each::Subnet": [{"subnet": subnet} for subnet in shape.subnets] or [{"subnet": "*"}],
            "Each::Source": [{"source": source} for source in shape.sources],
        }

    def of(self, node: Any) -> Any:
        return self._expand(node, self._known)

    def _expand(self, node: Any, known: Mapping[str, Any]) -> Any:
        if isinstance(node, str):
            return self._fill_in(node, known)
        if isinstance(node, list):
            return [item for entry in node for item in self._entries(entry, known)]
        if isinstance(node, dict):
            if set(node) == {"Json::Sub"}:
                return {"Fn::Sub": json.dumps(self._expand(node["Json::Sub"], known))}
            return dict(self._pairs(node, known))
        return node

    def _entries(self, entry: Any, known: Mapping[str, Any]) -> Iterator[Any]:
        key = next(iter(entry)) if isinstance(entry, dict) and len(entry) == 1 else None
        if key in self._each:
            for values in self._each[key]:
                yield self._expand(entry[key], {**known, **values})
        else:
            yield self._expand(entry, known)

    def _pairs(self, node: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for key, value in node.items():
            for values in self._repetitions(key, known):
                inner = {**known, **values}
                yield self._fill_in(key, inner), self._expand(value, inner)

    def _repetitions(self, key: str, known: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return what is known beside `known` each time that `key` is repeated."""
        pools = self._each["Each::Pool"]
        if "<OtherPool>" in key and "OtherPool" not in known:
            return [{"OtherPool": pool["Pool"]} for pool in pools[1:]]
        return pools if "<Pool>" in key and "Pool" not in known else [{}]

    def _fill_in(self, text: str, known: Mapping[str, Any]) -> Any:
        if (whole := _PLACEHOLDER.fullmatch(text)) and whole[1] in known:
            value = known[whole[1]]
            return self._fill_in(value, known) if isinstance(value, str) and value != text else value
        return _PLACEHOLDER.sub(lambda found: str(known.get(found[1], found[0])), text)


def _user_data(file: str) -> str:
    """Return a machine's cloud-init, with fields for CloudFormation and this template to fill in."""
    return Template(_text(file)).substitute(
        settings=f"s3://${{OutputBucket}}/{layout.SETTINGS}",
        region="${AWS::Region}",
        pool="<pool>",
        address="${Address}",
    )


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the fast one, where it was built
    """YAML with CloudFormation's short tags, `!Ref` and the like."""


def _tagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)  # noqa: S101  # for the type checker: YAML has no fourth kind
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt":
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _tagged)


def _read(subject: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(_text(f"template/{subject}.yaml"), Loader=_Loader)  # noqa: S506  # a SafeLoader with tags that make plain data
    return found


def _text(path: str) -> str:
    return resources.files("ami").joinpath(path).read_text()
