"""Where everything lies in the store, and how queues are named. The only place that spells keys."""

from __future__ import annotations

from core.domain.dropped_files import DROPS as DROPS

UPLOADS = "uploads/"
"""What the web tier takes in; each has a job of its own."""
THUMBNAILS = "thumbnails/"
INPUT = (UPLOADS, DROPS, THUMBNAILS)
"""What lies in the input bucket where there are two; all else lies in the output bucket."""
FLEET = "fleet/"
"""What the fleet's parts tell each other: little enough to be listed at once."""
WORKERS = "fleet/workers/"
DRAINS = "fleet/drain/"
POOLS = "fleet/pools/"
DECISIONS = "fleet/decisions/"
CONTROLLER = "fleet/controller.json"
PAUSED = "fleet/paused"
CAP = "fleet/cap.json"
ROLES = "fleet/roles/"
"""Signs of life of the collector and the controller."""
HISTORY = "fleet/history.json"
ARRIVALS = "fleet/arrivals.json"
"""How much came in each quarter of an hour of the last two days."""
CHANGES = "fleet/changes.json"
RUNS = "runs/"
"""How far the tagging of a bucket is, and what it sends."""
PROBES = "fleet/probes/"
"""Put and deleted again, to find out what the store can do."""
SETTINGS = "fleet/settings.toml"
BAKES = "fleet/bakes/"
"""The settings file that all hosts of a deployment on AWS share."""
RESULTS_QUEUE = "results"
ADAPTIVE = "adaptive/"
"""What the tagger that learns from people has learned."""
MODELS = "models/"


def image_key(batch_id: str, image_id: str) -> str:
    return f"{UPLOADS}{batch_id}/{image_id}"


def key_before(key: str) -> str | None:
    """Return where the original of an upload was when uploads had no prefix of their own: below `images/`."""
    return f"{DROPS}{key.removeprefix(UPLOADS)}" if key.startswith(UPLOADS) else None


def thumbnail_key(batch_id: str, image_id: str) -> str:
    return f"{THUMBNAILS}{batch_id}/{image_id}.jpg"


def result_key(batch_id: str, image_id: str) -> str:
    return f"results/{batch_id}/{image_id}.json"


def cancelled_key(batch_id: str) -> str:
    """There as soon as the batch was cancelled."""
    return f"results/{batch_id}/cancelled"


def batch_prefixes(batch_id: str) -> tuple[str, ...]:
    """Everything that is kept of a batch lies under these."""
    return f"{UPLOADS}{batch_id}/", f"{THUMBNAILS}{batch_id}/", f"results/{batch_id}/"


def originals_before(batch_id: str) -> str:
    """Return the prefix of a batch's originals from when uploads had no prefix of their own; see `key_before`."""
    return f"{DROPS}{batch_id}/"


def run_key(run_id: str) -> str:
    """How far the run is."""
    return f"{RUNS}{run_id}/run.json"


def portion_key(run_id: str, number: int) -> str:
    """Which objects belong to a portion of the run."""
    return f"{RUNS}{run_id}/{number:05}.json"


def part_name(number: int) -> str:
    """The file of a portion's results."""
    return f"part-{number:05}.parquet"


def part_key(run_id: str, number: int) -> str:
    return f"exports/{run_id}/{part_name(number)}"


def model_default_key(name: str) -> str:
    return f"{MODELS}{name}/default.json"


def model_prefix(name: str, version: str = "") -> str:
    return f"{MODELS}{name}/{version}/" if version else f"{MODELS}{name}/"


def converted_prefix(name: str, version: str) -> str:
    """The form for OpenVINO of a model of the registry."""
    return f"{MODELS}{name}/{version}/openvino/"


def int8_prefix(name: str, weights_hash: str) -> str:
    """The int8 form of a model with exactly these weights."""
    return f"{MODELS}{name}/int8-{weights_hash[:16]}/"


def adaptive_state_key(backbone: str) -> str:
    return f"{ADAPTIVE}{backbone}/state"


def adaptive_example_key(backbone: str, image_id: str) -> str:
    """The features of one image."""
    return f"{ADAPTIVE}{backbone}/examples/{image_id}.npy"


def worker_key(worker_id: str) -> str:
    return f"{WORKERS}{worker_id}.json"


def role_key(role: str) -> str:
    return f"{ROLES}{role}.json"


def drain_key(worker_id: str) -> str:
    return f"{DRAINS}{worker_id}"


def pool_key(pool: str) -> str:
    return f"{POOLS}{pool}.json"


def jobs_queue(pool: str) -> str:
    return f"jobs-{pool}"
