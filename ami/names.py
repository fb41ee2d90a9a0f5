"""Takes a worker's names from its user data, and nothing else: `python -m ami.names /etc/tagfleet/worker.env`.

Everybody who may launch workers may replace their user data, as IAM has no condition for it, and cloud-init would run
it as root. A worker's image therefore makes cloud-init ignore user data (`allow_userdata: false`), and this module
reads the few names that a worker needs, each in a form that can only lead to a deployment's own settings. It needs no
package but Python's own.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from core.aws.metadata import Ec2Machine
from core.errors import TagfleetError
from core.storage import layout

_REGION = r"[a-z]{2}(-[a-z]+)+-\d"
_FORMS = {
    "TAGFLEET_CONFIG": rf"s3://[a-z][a-z0-9-]{{0,29}}-out-\d{{12}}-{_REGION}/{re.escape(layout.SETTINGS)}",
    "AWS_REGION": _REGION,
    "AWS_DEFAULT_REGION": _REGION,
    "POOL": r"[a-z0-9]+(-[a-z0-9]+)*",
    "LOG_GROUP": r"/tagfleet/[a-z][a-z0-9-]*/workers",
}
_LINE = re.compile(r"\s*([A-Z][A-Z_]*)=(\S*)\s*")
_NEEDED = ("TAGFLEET_CONFIG", "POOL")


class BadNames(TagfleetError):
    """The user data lacks a name that a worker needs."""


def names_in(user_data: str) -> dict[str, str]:
    """Return the names in `user_data`, which have the launch template's form. Raises BadNames."""
    found: dict[str, str] = {}
    for line in user_data.splitlines():
        given = _LINE.fullmatch(line)
        if given is None or given[1] not in _FORMS:
            continue
        if given[1] in found or not re.fullmatch(_FORMS[given[1]], given[2], re.ASCII):
            raise BadNames(f"the user data gives {given[1]} twice, or as no template of ours does")
        found[given[1]] = given[2]
    if lacking := [name for name in _NEEDED if name not in found]:
        raise BadNames(f"the user data does not give {' and '.join(lacking)}")
    return found


def take(file: Path, environ: Mapping[str, str]) -> None:
    """Write the names into `file`, as an environment file. Raises BadNames, Unavailable."""
    names = names_in(Ec2Machine(environ).user_data())
    file.write_text("".join(f"{name}={value}\n" for name, value in names.items()))
    file.chmod(0o644)


if __name__ == "__main__":
    try:
        take(Path(sys.argv[1]), os.environ)
    except (TagfleetError, OSError) as error:
        sys.exit(f"names of a worker: {error}")
