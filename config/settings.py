"""All settings of all tiers, typed: defaults.toml < file < TAGFLEET_* environment < flags."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from config.networks import Network, networks
from config.schedule import Schedule, schedule, time_zone
from config.taggers import family_of
from config.validation import problems

_DEFAULTS = Path(__file__).with_name("defaults.toml")
_PREFIX = "TAGFLEET_"


class BadSetting(Exception):
    """A setting is unknown, missing or out of range; the text is one line that names it."""


def _named(folder: Any) -> Any:
    if isinstance(folder, str) and not folder.strip():
        raise PydanticCustomError("folder", "it names no folder")  # it would be whichever one the command is called in
    return folder


def _expanded(path: Path) -> Path:
    return path.expanduser().absolute()


def _scheduled(text: str) -> str:
    try:
        schedule(text)
    except ValueError as error:
        raise PydanticCustomError("schedule", "{problem}", {"problem": str(error)}) from None
    return text


def _zoned(name: str) -> str:
    try:
        time_zone(name)
    except ValueError as error:
        raise PydanticCustomError("time_zone", "{problem}", {"problem": str(error)}) from None
    return name


def _proxies(text: str) -> str:
    try:
        networks(text)
    except ValueError as error:
        raise PydanticCustomError("trusted_proxies", "{problem}", {"problem": str(error)}) from None
    return text


def _tasks(text: str) -> str:
    known = get_args(Task)
    if wrong := [name for name in text.split() if name not in known]:
        problem = f"there is no task {wrong[0]!r}; there are: {', '.join(known)}"
    elif "find" in text.split():
        problem = "what `find` is to look for is named by a batch, as its candidates"
    else:
        return text
    raise PydanticCustomError("tasks", "{problem}", {"problem": problem})


Task = Literal["caption", "detailed_caption", "detect", "regions", "find"]
"""What florence2 can be asked to do."""

Folder = Annotated[Path, BeforeValidator(_named), AfterValidator(_expanded)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WebSettings(_Section):
    threads: Count
    max_image_mb: Count
    max_request_mb: Count
    catalog_url: str
    hosts: Annotated[str, Field(pattern=r"^[A-Za-z0-9.\-:, ]*$")]
    https: bool
    require_keys: bool
    session_s: Seconds
    rate_per_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    rate_burst: Count
    trusted_proxies: Annotated[str, AfterValidator(_proxies)]
    connections: Count
    connections_per_address: Count
    streams: Count
    head_s: Seconds
    stall_s: Seconds
    slowest_bytes_per_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    send_stall_s: Seconds
    hung_s: Annotated[float, Field(ge=3, allow_inf_nan=False)]

    @property
    def proxy_networks(self) -> tuple[Network, ...]:
        return networks(self.trusted_proxies)

    @property
    def host_names(self) -> frozenset[str]:
        return frozenset(self.hosts.lower().replace(",", " ").split())


class QueueSettings(_Section):
    visibility_timeout_s: Annotated[float, Field(ge=1, le=43_200)]
    max_receives: Count


class WorkerSettings(_Section):
    engine: Literal["auto", "openvino", "torch"]
    precision: Literal["auto", "int8", "bf16", "fp32"]
    threads: Annotated[int, Field(ge=0)]
    batch_size: Count
    batch_wait_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    prefetch: Count
    fetch_threads: Count
    decode_threads: Count
    finish_threads: Count
    decode_memory_mb: Annotated[int, Field(ge=16)]
    decode_timeout_s: Seconds
    isolate_receive: Annotated[int, Field(ge=2)]
    heartbeat_s: Seconds
    look_s: Seconds
    abandoned_s: Seconds


class ControllerSettings(_Section):
    tick_s: Seconds
    max_workers: Annotated[int, Field(ge=0)]
    drain_goal_s: Seconds
    utilisation: Annotated[float, Field(gt=0, le=1)]
    linger_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    stabilisation_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    boot_prior_s: Seconds
    throughput_prior: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    boot_deadline_s: Seconds
    lost_after_s: Seconds
    drain_deadline_s: Seconds
    breaker_failures: Count
    breaker_reset_s: Seconds
    lease_s: Seconds
    peek_s: Seconds
    budget_per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    time_zone: Annotated[str, AfterValidator(_zoned)]
    foresee: bool
    dry_run: bool


class CollectorSettings(_Section):
    sweep_s: Seconds
    expire_open_s: Seconds
    retention_days: Annotated[float, Field(ge=0, allow_inf_nan=False)]


class WebhookSettings(_Section):
    allow_private: bool
    timeout_s: Annotated[float, Field(gt=0, le=30)]


_OFFERINGS = r"^ *([a-z0-9.-]+:(spot|on-demand)( +|$))*$"
_BUCKET = r"^[A-Za-z0-9._-]*$"


class AwsSettings(_Section):
    """Names of the parts, as the stack made them. Credentials and the endpoint come from boto3's own chain."""

    region: str
    deployment: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=30)]
    input_bucket: Annotated[str, Field(pattern=_BUCKET)]
    output_bucket: Annotated[str, Field(pattern=_BUCKET)]
    catalog_secret: str
    offerings: Annotated[str, Field(pattern=_OFFERINGS, min_length=1)]
    subnets: Annotated[str, Field(pattern=r"^ *(subnet-[0-9a-f]+ *)*$")]
    prices: Annotated[str, Field(pattern=r"^ *([a-z0-9.-]+:\d+(\.\d+)?( +|$))*$")]


class PoolSettings(_Section):
    """One tagger, its input queue and its workers."""

    tagger: str
    weights: str = ""
    top_k: Count = 5
    min_confidence: Annotated[float, Field(ge=0, le=1)] = 0.05
    cumulative: Annotated[float, Field(ge=0, le=1)] = 0.0
    tasks: Annotated[str, AfterValidator(_tasks)] = "detect caption"
    backbone: str = "mobilenetv2"
    fallback: str = ""
    offerings: Annotated[str, Field(pattern=_OFFERINGS)] = ""
    schedule: Annotated[str, AfterValidator(_scheduled)] = ""

    @property
    def learns(self) -> bool:
        """Whether its tagger learns from what people say of tags."""
        return family_of(self.tagger) == "adaptive"

    @property
    def task_names(self) -> tuple[Task, ...]:
        return cast(tuple[Task, ...], tuple(self.tasks.split()))


class Settings(_Section):
    home: Folder
    cache: Folder
    weights: str
    backend: Literal["local", "aws"]
    host: str
    port: Annotated[int, Field(ge=0, le=65_535)]
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["console", "json"]
    stalled_s: Seconds
    web: WebSettings
    queue: QueueSettings
    worker: WorkerSettings
    controller: ControllerSettings
    collector: CollectorSettings
    webhooks: WebhookSettings
    aws: AwsSettings
    pools: dict[Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")], PoolSettings] = Field(min_length=1)

    @model_validator(mode="after")
    def _images_are_isolated_in_time(self) -> Self:
        isolated, most = self.worker.isolate_receive, self.queue.max_receives
        if most < isolated:
            raise PydanticCustomError(
                "max_receives",
                "queue.max_receives is {most}, and worker.isolate_receive {isolated}: an image that crashes its worker "
                "would be a dead letter before it is decoded apart; raise queue.max_receives to {isolated} or more",
                {"most": most, "isolated": isolated},
            )
        return self

    @property
    def weights_folder(self) -> Path:
        return Path(self.weights).expanduser().absolute() if self.weights else self.home / "weights"

    @property
    def schedules(self) -> dict[str, Schedule]:
        """Of the pools that have one."""
        zone = time_zone(self.controller.time_zone)
        return {name: schedule(pool.schedule, zone) for name, pool in self.pools.items() if pool.schedule.strip()}

    @property
    def learning_pools(self) -> tuple[str, ...]:
        """Those whose taggers learn from people."""
        return tuple(name for name, pool in self.pools.items() if pool.learns)

    @property
    def default_pool(self) -> str:
        return next(iter(self.pools))


@dataclass(frozen=True, slots=True)
class Document:
    """A settings file that lies on no disk here; `name` is for messages."""

    name: str
    text: str


def load(
    environ: Mapping[str, str], *, file: Path | Document | None = None, flags: Mapping[str, Any] | None = None
) -> Settings:
    """Merge the four sources and check the result. Without `file` TAGFLEET_CONFIG may name one.

    `flags` maps dotted names (`worker.batch_size`) to values; None values are left out.
    Raises BadSetting, whose text names the setting and where it came from.
    """
    merged = tomllib.loads(_DEFAULTS.read_text())
    chosen = file or (Path(environ[_PREFIX + "CONFIG"]) if environ.get(_PREFIX + "CONFIG") else None)
    if chosen is not None:
        _merge(merged, _read(chosen))
    _merge(merged, _from_environment(environ, merged))
    for name, value in (flags or {}).items():
        if value is not None:
            _merge(merged, _nested(name.split("."), value))
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise BadSetting(_one_line(error)) from None


def as_environment(settings: Settings) -> dict[str, str]:
    """The settings as TAGFLEET_* variables, so that a child process loads exactly these."""
    found: dict[str, str] = {}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{name}__{key.replace('-', '_')}" if name else key, inner)
        else:
            found[_PREFIX + name.upper()] = str(value)

    walk("", settings.model_dump(mode="json"))
    return found


def _read(file: Path | Document) -> dict[str, Any]:
    name, text = (file.name, file.text) if isinstance(file, Document) else (str(file), None)
    try:
        return tomllib.loads(Path(name).read_text(encoding="utf-8") if text is None else text)
    except OSError as error:
        raise BadSetting(f"settings file {name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadSetting(f"settings file {name}: it is not text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise BadSetting(f"settings file {name}: {error}") from None


def _from_environment(environ: Mapping[str, str], known: Mapping[str, Any]) -> dict[str, Any]:
    """TAGFLEET_WORKER__BATCH_SIZE=16 → {"worker": {"batch_size": "16"}}; a name that is no setting is refused."""
    found: dict[str, Any] = {}
    for name, value in environ.items():
        if not name.startswith(_PREFIX) or name in _NOT_SETTINGS:
            continue
        path = name[len(_PREFIX) :].lower().split("__")
        if path[0] not in known:
            raise BadSetting(f"environment variable {name}: there is no setting {'.'.join(path)!r}")
        if path[0] == "pools" and len(path) > 1:
            path[1] = path[1].replace("_", "-")
        _merge(found, _nested(path, value))
    return found


_NOT_SETTINGS = {_PREFIX + name for name in ("CONFIG", "URL", "API_KEY", "TEST_DATA", "INSTANCE", "LIFELINE", "PULSE")}
"""Variables of our prefix that speak to one command or to the tests, not to the settings."""


def _nested(path: list[str], value: Any) -> dict[str, Any]:
    for part in reversed(path):
        value = {part: value}
    return value  # type: ignore[no-any-return]  # a path has at least one part


def _merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _one_line(error: ValidationError) -> str:
    first = next(problems(error))
    if first.kind == "extra_forbidden":
        first = replace(first, what="there is no such setting")
    if not first.where or first.where.startswith(_MAY_HOLD_A_PASSWORD):  # without a name: the text names two settings
        return f"setting {first}"
    given = re.sub(r"\s+", " ", repr(first.given))[:60]
    return f"setting {first} (given: {given})"


_MAY_HOLD_A_PASSWORD = "web.catalog_url"  # noqa: S105  # the setting's name
