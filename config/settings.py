"""The schema of all settings of all tiers, and their loading: defaults.toml < file < TAGFLEET_* environment < flags.

`config.sources` merges the sources; this module checks the result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from config.networks import Network, networks
from config.schedule import Schedule, schedule, time_zone
from config.sources import PREFIX, merge_sources, without_old_names
from config.sources import BadSetting as BadSetting  # part of this module's interface, and `Document`
from config.sources import Document as Document
from config.taggers import family_of
from config.validation import problems


def _named(folder: Any) -> Any:
    if isinstance(folder, str) and not folder.strip():
        raise PydanticCustomError("folder", "it does not name a folder")  # "" would be the current folder
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
"""A task that florence2 can do."""

Folder = Annotated[Path, BeforeValidator(_named), AfterValidator(_expanded)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class _CountOrAuto:
    """Checks a count, and lets "auto" pass. As a union, each mistake would have two messages."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(
            lambda given, check: given if given == "auto" else check(given),
            core_schema.int_schema(ge=1),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value),
        )


Size = Annotated[int | Literal["auto"], _CountOrAuto()]
"""How much is done at once; "auto": the worker chooses."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WebSettings(_Section):
    processes: Annotated[int, Field(ge=1, le=16)]
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
    device: Literal["auto", "cuda", "cpu"]
    precision: Literal["auto", "int8", "bf16", "fp32"]
    threads: Annotated[int, Field(ge=0)]
    batch_size: Size
    batch_wait_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    prefetch: Size
    fetched_mb: Count
    fetch_threads: Size
    decode_threads: Size
    finish_threads: Size
    decode_memory_mb: Annotated[int, Field(ge=16)]
    decode_timeout_s: Seconds
    infer_timeout_s: Seconds
    isolate_receive: Annotated[int, Field(ge=2)]
    heartbeat_s: Seconds
    reload_s: Seconds
    abandoned_s: Seconds


class ControllerSettings(_Section):
    tick_s: Seconds
    max_workers: Annotated[int, Field(ge=0)]
    backlog_target_s: Seconds
    utilisation: Annotated[float, Field(gt=0, le=1)]
    idle_keep_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    stabilisation_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    boot_prior_s: Seconds
    throughput_prior: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    boot_deadline_s: Seconds
    lost_after_s: Seconds
    drain_deadline_s: Seconds
    breaker_failures: Count
    breaker_reset_s: Seconds
    lease_s: Seconds
    poll_s: Seconds
    budget_per_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    time_zone: Annotated[str, AfterValidator(_zoned)]
    forecast: bool
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
    """Names of resources, as the stack made them. Credentials and endpoint come from boto3's own chain."""

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
        """Whether its tagger learns from people's feedback."""
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

    @model_validator(mode="after")
    def _engine_runs_on_device(self) -> Self:
        if (self.worker.engine, self.worker.device) == ("openvino", "cuda"):
            raise PydanticCustomError(
                "device",
                'worker.device is "cuda", and worker.engine "openvino" runs on processors only: set worker.engine to '
                '"auto", or worker.device to "cpu"',
            )
        return self

    @property
    def weights_folder(self) -> Path:
        return Path(self.weights).expanduser().absolute() if self.weights else self.home / "weights"

    @property
    def schedules(self) -> dict[str, Schedule]:
        """The schedules of the pools that have one."""
        zone = time_zone(self.controller.time_zone)
        return {name: schedule(pool.schedule, zone) for name, pool in self.pools.items() if pool.schedule.strip()}

    @property
    def learning_pools(self) -> tuple[str, ...]:
        """Pools whose taggers learn from people's feedback."""
        return tuple(name for name, pool in self.pools.items() if pool.learns)

    @property
    def default_pool(self) -> str:
        return next(iter(self.pools))


def load(
    environ: Mapping[str, str],
    *,
    file: Path | Document | None = None,
    flags: Mapping[str, Any] | None = None,
    tell: Callable[[str], object] = lambda line: None,
) -> Settings:
    """Merge the four sources and check the result. Without `file`, TAGFLEET_CONFIG may name one.

    `flags` maps dotted names (`worker.batch_size`) to values; None values are left out. `tell` gets a line for each
    setting that goes by its old name. Raises BadSetting, whose text names the setting and where it came from.
    """
    try:
        return Settings.model_validate(merge_sources(environ, file, flags or {}, tell))
    except ValidationError as error:
        raise BadSetting(_one_line(error)) from None


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the settings as TAGFLEET_* variables, from which a child process loads exactly these."""
    found: dict[str, str] = {}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{name}__{key.replace('-', '_')}" if name else key, inner)
        else:
            found[PREFIX + name.upper()] = str(value)

    walk("", settings.model_dump(mode="json"))
    return found


def child_environment(environ: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Return `environ` with these settings, and without variables that name one of them by its old name."""
    return {**without_old_names(environ), **as_environment(settings)}


def _one_line(error: ValidationError) -> str:
    first = next(problems(error))
    if first.kind == "extra_forbidden":
        first = replace(first, what="there is no such setting")
    if not first.where or first.where.startswith(_MAY_HOLD_A_PASSWORD):  # without a field, the text names them
        return f"setting {first}"
    given = re.sub(r"\s+", " ", repr(first.given))[:60]
    return f"setting {first} (given: {given})"


_MAY_HOLD_A_PASSWORD = "web.catalog_url"  # noqa: S105  # the setting's name
