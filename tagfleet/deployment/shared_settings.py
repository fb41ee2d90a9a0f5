"""The settings file of a deployment on AWS, which all of its machines read. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from config import settings as config
from config.settings import Settings

_AWS_VALUES: Mapping[str, Mapping[str, Any]] = {
    "queue": {"visibility_timeout_s": 60.0},
    "worker": {
        "heartbeat_s": 5.0,  # each heartbeat is a request to S3: one a second would cost $13 a month for a worker
        "abandoned_s": 900.0,
    },
    "controller": {
        "tick_s": 5.0,
        "poll_s": 5.0,  # SQS's counts lag anyway, and each read is a request
        "max_workers": 10,
        # The tables of docs/elasticity.md use the next four values.
        "backlog_target_s": 120.0,
        "utilisation": 1.0,
        "idle_keep_s": 5.0,
        "stabilisation_s": 5.0,
        "boot_prior_s": 120.0,
        "boot_deadline_s": 600.0,
        "lost_after_s": 60.0,
        "drain_deadline_s": 80.0,  # less than the stop time-out of the worker's systemd unit
        "breaker_reset_s": 300.0,
        "lease_s": 10.0,
    },
}
"""Values for AWS. They replace settings that still have their default, which is meant for one machine."""

_SECRET = ("web.catalog_url",)
_PER_MACHINE = ("home", "cache", "weights", "host", "port", "log_level", "log_format")


def fit_for_aws(settings: Settings) -> Settings:
    """Return the settings with AWS's values in place of defaults for one machine."""
    chosen = settings.model_dump()
    usual = config.load({}).model_dump()
    for section, values in _AWS_VALUES.items():
        for name, value in values.items():
            if chosen[section][name] == usual[section][name]:
                chosen[section][name] = value
    for pool in chosen["pools"].values():
        pool["fallback"] = ""  # on AWS a pool never tags with another network than the one it names
    return Settings.model_validate(chosen)


def with_names(
    settings: Settings,
    region: str,
    deployment: str,
    outputs: Mapping[str, str],
    subnets: Sequence[str],
    proxies: Sequence[str] = (),
) -> Settings:
    """Return the settings with the names of the resources that the stack created.

    `proxies` are the address ranges of the load balancer's subnets.
    """
    chosen = settings.model_dump()
    chosen["backend"] = "aws"
    chosen["aws"] |= {
        "region": region,
        "deployment": deployment,
        "input_bucket": outputs["InputBucket"],
        "output_bucket": outputs["OutputBucket"],
        "catalog_secret": outputs.get("CatalogSecret", ""),
        "subnets": " ".join(subnets),
    }
    if database := outputs.get("CatalogHost"):
        chosen["web"]["catalog_url"] = f"postgresql://tagfleet@{database}:5432/tagfleet?sslmode=require"
    if domain := outputs.get("Domain") or outputs.get("Entrance"):
        chosen["web"] |= {"hosts": domain.lower(), "https": True}
        chosen["web"]["trusted_proxies"] = chosen["web"]["trusted_proxies"] or " ".join(proxies)
    return Settings.model_validate(chosen)


def as_toml(settings: Settings) -> str:
    """Return the settings that differ from the defaults as TOML, except the settings of a single machine."""
    chosen, usual = settings.model_dump(mode="json"), config.load({}).model_dump(mode="json")
    for name in _PER_MACHINE:
        del chosen[name]
    pools = chosen.pop("pools")
    lines = [
        "# Written by `tagfleet aws up`, which replaces it each time: change the file that you give to that command."
    ]
    tables: list[str] = []
    for name, value in chosen.items():
        if not isinstance(value, dict):
            lines.append(f"{name} = {_value(value)}")
        elif different := {key: inner for key, inner in value.items() if inner != usual[name][key]}:
            tables += ["", f"[{name}]", *_pairs(different)]
    for name, pool in pools.items():
        tables += ["", f"[pools.{name}]", *_pairs(pool)]
    return "\n".join([*lines, *tables]) + "\n"


def differences(before: Settings, after: Settings) -> list[str]:
    """Return one line for each setting that changes: `controller.budget_per_hour: 4.0 becomes 0.0`."""
    old, new = _flat(before.model_dump(mode="json")), _flat(after.model_dump(mode="json"))
    return [
        f"{name} changes" if name in _SECRET else f"{name}: {_shown(old.get(name))} becomes {_shown(new.get(name))}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name) and name not in _PER_MACHINE
    ]


def _flat(table: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= _flat(value, f"{within}{name}.") if isinstance(value, Mapping) else {f"{within}{name}": value}
    return found


def _shown(value: Any) -> str:
    return "nothing" if value in (None, "") else str(value)


def _pairs(table: Mapping[str, Any]) -> Iterator[str]:
    for name, value in table.items():
        if value is not None:
            yield f"{name} = {_value(value)}"


def _value(value: Any) -> str:
    """Format a value; JSON's strings, numbers and booleans are valid TOML."""
    return json.dumps(value)
