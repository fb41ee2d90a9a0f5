"""Bakes a machine image: starts a builder, runs install.sh on it, makes an image of it, and removes everything else.

The builder needs no role and opens no port. It fetches from, and reports to, addresses that expire.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from ami.aws.account import ROLE_TAG, RUNS_ON_TAG, SIGNALS_TAG, USER_DATA_TAG
from ami.aws.images import BAKE_TAG, BakedImage, Ec2Images
from config.gpus import explain_unsupported, has_gpu
from core.errors import NotFound, TagfleetError, Unavailable
from core.storage import layout
from core.storage.ports import ObjectStore

_POLL_S = 5.0
_MOST_FAILED_POLLS = 24  # in a row: two minutes without an answer
_USER_DATA_BYTES = 16_384
_CONSOLE_LINES = 20


class BakeFailed(TagfleetError):
    """There is no image. What was made for it has been removed, or is named."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image to bake. Its `name` (letters, digits, hyphens) also tags everything that the bake makes."""

    name: str
    base: str
    """An image's id, or `resolve:ssm:PARAMETER`."""
    type: str
    role: str
    """`worker` or `host`."""
    package: Path
    version: str
    weights: Sequence[Path] = ()
    gpu: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)
    """Settings that the engines depend on, as TAGFLEET_* variables."""
    subnet: str = ""
    disk_gb: int = 40
    deadline_s: float = 3600.0


class Bake:
    """One bake. `say` gets a line for people at each step; `pause` sleeps; `clock` is monotonic."""

    def __init__(
        self,
        recipe: Recipe,
        images: Ec2Images,
        store: ObjectStore,
        say: Callable[[str], None],
        *,
        installer: Path | None = None,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._recipe = recipe
        self._images = images
        self._store = store
        self._say = say
        self._installer = installer or Path(str(files("ami") / "install.sh"))
        self._pause = pause
        self._clock = clock

    def run(self) -> BakedImage:
        """Return the available image. Raises BakeFailed, Unavailable; however it ends, nothing it made goes on
        costing money."""
        recipe = self._recipe
        if why := _why_unfit(recipe):
            raise BakeFailed(why)
        started = self._clock()
        base = self._images.base(recipe.base)
        with ExitStack() as cleanup:
            cleanup.callback(self._undo, "delete what was uploaded", self._clear_uploads)
            user_data = self._user_data()
            cleanup.callback(self._undo, "end the builder", self._end_builder)
            builder = self._images.launch_builder(
                recipe.name, base, recipe.type, user_data, subnet=recipe.subnet, disk_gb=recipe.disk_gb
            )
            self._say(f"builder {builder} ({recipe.type}) starts from {base} and installs a {recipe.role}")
            self._until(lambda: self._has_reported(builder), f"builder {builder} has not reported")
            self._say(f"installed and checked; builder {builder} stops")
            self._images.stop(builder)
            self._until(lambda: self._images.state(builder) == "stopped", f"builder {builder} does not stop")
            with ExitStack() as half_made:
                half_made.callback(self._undo, "remove the half-made image", self._remove_image)
                tags = {ROLE_TAG: recipe.role, "tagfleet:version": recipe.version}
                tags |= {RUNS_ON_TAG: "gpu" if recipe.gpu else "cpu"}
                tags |= {SIGNALS_TAG: "ready"} if recipe.role == "host" else {USER_DATA_TAG: "names"}
                id = self._images.create(builder, recipe.name, tags)
                self._say(f"image {id} is being made")
                self._until(lambda: self._is_available(id), f"image {id} is not available")
                half_made.pop_all()
        self._say(f"image {id} is there after {(self._clock() - started) / 60:.0f} min; the builder has ended")
        return self._images.image(id)

    # --- steps --------------------------------------------------------------------------------

    def _user_data(self) -> str:
        """Upload what the builder needs; return the script that fetches it. Raises BakeFailed, Unavailable."""
        recipe = self._recipe
        arguments = ["--role", recipe.role]
        if recipe.role == "worker":
            arguments += ["--gpu" if recipe.gpu else "--cpu", "--end-machine"]
        arguments.append("--seal")
        lines = [
            "#!/bin/bash",
            f"shutdown -h +{recipe.deadline_s // 60 + 5:.0f}  # whatever becomes of who launched it",
            *(f"export {name}={shlex.quote(value)}" for name, value in recipe.environ.items()),
            f"readonly package={self._upload(recipe.package)} installer={self._upload(self._installer)}",
            f"readonly weights=({' '.join(self._upload(path) for path in recipe.weights)})",
            f"readonly report={shlex.quote(self._images.report_url(self._key('report'), self._expires_s))}",
            f"arguments=({shlex.join(arguments)})",
            (files("ami") / "builder.sh").read_text(),
        ]
        text = "\n".join(lines)
        if len(text.encode()) > _USER_DATA_BYTES:
            raise BakeFailed("the builder's user data exceeds EC2's 16 KB: name fewer files of weights")
        return text

    def _upload(self, path: Path) -> str:
        """Upload a file; return the address from which the builder fetches it, quoted for its shell."""
        key = self._key(path.name)
        self._say(f"uploading {path.name} ({path.stat().st_size / 1e6:.1f} MB)")
        with path.open("rb") as file:
            self._store.put(key, file)
        return shlex.quote(self._images.fetch_url(key, self._expires_s))

    def _has_reported(self, builder: str) -> bool:
        try:
            outcome, _, log = self._store.get(self._key("report")).data.decode("utf-8", "replace").partition("\n")
        except NotFound:
            state = self._images.state(builder)
            if state in ("pending", "running"):
                return False
            tail = self._images.console(builder).splitlines()[-_CONSOLE_LINES:]
            raise BakeFailed(
                "\n  ".join([f"builder {builder} is {state} and never reported; its console's end:", *tail])
            ) from None
        if outcome != "done":
            raise BakeFailed("\n  ".join([f"install.sh failed on {builder}; its last lines:", *log.splitlines()]))
        return True

    def _is_available(self, id: str) -> bool:
        image = self._images.image(id)
        if image.state not in ("pending", "available"):
            raise BakeFailed(f"image {id} is {image.state}: {image.why or 'EC2 does not say why'}")
        return image.state == "available"

    def _until(self, came: Callable[[], bool], otherwise: str) -> None:
        """Poll until `came` returns True. A poll without an answer is retried. Raises BakeFailed past the deadline."""
        deadline, unanswered = self._clock() + self._recipe.deadline_s, 0
        while True:
            try:
                if came():
                    return
                unanswered = 0
            except Unavailable:
                unanswered += 1
                if unanswered >= _MOST_FAILED_POLLS:
                    raise
            if self._clock() > deadline:
                raise BakeFailed(f"{otherwise} after {self._recipe.deadline_s / 60:.0f} min")
            self._pause(_POLL_S)

    # --- what is undone -----------------------------------------------------------------------

    def _clear_uploads(self) -> None:
        self._store.delete([info.key for info in self._store.list(self._key(""))])

    def _end_builder(self) -> None:
        self._images.end_builders(self._recipe.name)

    def _remove_image(self) -> None:
        self._images.remove(self._recipe.name)

    def _undo(self, what: str, step: Callable[[], None]) -> None:
        """Undo a step. A failure is reported, and hides neither the other steps nor the first error."""
        try:
            step()
        except TagfleetError as error:
            self._say(f"could not {what}: {error}; look for what is tagged {BAKE_TAG}={self._recipe.name}")

    def _key(self, name: str) -> str:
        return f"{layout.BAKES}{self._recipe.name}/{name}"

    @property
    def _expires_s(self) -> int:
        return int(self._recipe.deadline_s)


def _why_unfit(recipe: Recipe) -> str:
    """Return why no image can be baked on this type of builder, or an empty string. A bake for GPUs computes on one."""
    if not recipe.gpu or recipe.role != "worker":
        return ""
    if not has_gpu(recipe.type):
        return f"{recipe.type} has no GPU to check the image on: bake with --gpu on a type that has, --type g4dn.xlarge"
    why = explain_unsupported([recipe.type])
    return f"{why}: bake on another type" if why else ""
