"""Run `tagfleet` in this process, with one cloud and one deployment in its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result

from core.errors import TagfleetError
from tagfleet.cli import cli
from tests.cloud import REGION, Cloud


@dataclass(frozen=True)
class Commands:
    environ: Mapping[str, str]

    def __call__(self, *arguments: str, typed: str | None = None) -> Result:
        """Its output; a failure's sentence is the text of `exception`."""
        result = CliRunner().invoke(cli, arguments, input=typed, env=self.environ)
        if result.exception and not isinstance(result.exception, SystemExit | TagfleetError):
            raise result.exception
        return result


def deployment_in(cloud: Cloud, name: str, home: Path) -> Commands:
    ours = {"TAGFLEET_AWS__DEPLOYMENT": name, "TAGFLEET_AWS__REGION": REGION, "TAGFLEET_HOME": str(home)}
    return Commands({**cloud.environ, **ours})


def image_of(cloud: Cloud) -> str:
    """Some image that this cloud has."""
    return str(cloud.client("ec2").describe_images()["Images"][0]["ImageId"])
