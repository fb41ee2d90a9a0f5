"""The keys of all objects in the store, and the names of queues. No other module spells them out."""

from __future__ import annotations

from core.domain.addresses import DROPS as DROPS  # part of this module's interface; imports little, for `ami.names`

UPLOADS = "uploads/"
"""Images that were uploaded to the web tier. Each has a job."""
THUMBNAILS = "thumbnails/"
INPUT = (UPLOADS, DROPS, THUMBNAILS)
"""Prefixes of the input bucket, if there are two buckets; everything else is in the output bucket."""
FLEET = "fleet/"
"""Objects through which the fleet's processes know each other: few enough for one listing."""
WORKERS = "fleet/workers/"
DRAINS = "fleet/drain/"
POOLS = "fleet/pools/"
DECISIONS = "fleet/decisions/"
CONTROLLER = "fleet/controller.json"
PAUSED = "fleet/paused"
CAP = "fleet/cap.json"
ROLES = "fleet/roles/"
"""Heartbeats of the collector and the controller."""
HISTORY = "fleet/history.json"
ARRIVALS = "fleet/arrivals.json"
"""The arrivals of each quarter of an hour of the last two days."""
CHANGES = "fleet/changes.json"
RUNS = "runs/"
"""The progress of each run that tags a bucket, and its lists of objects."""
PROBES = "fleet/probes/"
"""Objects that are put and deleted again, to check what the store can do."""
SETTINGS = "fleet/settings.toml"
"""The settings file that all hosts of a deployment on AWS share."""
BAKES = "fleet/bakes/"
"""Files that the builder of a machine image reads, and its report."""
RESULTS_QUEUE = "results"
ADAPTIVE = "adaptive/"
"""The states of adaptive taggers: everything that they have learned from people."""
MODELS = "models/"


def image_key(batch_id: str, image_id: str) -> str:
    return f"{UPLOADS}{batch_id}/{image_id}"


def key_before(key: str) -> str | None:
    """Return an upload's key in earlier versions, which kept uploads below `images/`; None for other keys."""
    return f"{DROPS}{key.removeprefix(UPLOADS)}" if key.startswith(UPLOADS) else None


def thumbnail_key(batch_id: str, image_id: str) -> str:
    return f"{THUMBNAILS}{batch_id}/{image_id}.jpg"


def result_key(batch_id: str, image_id: str) -> str:
    return f"results/{batch_id}/{image_id}.json"


def portion_results_prefix(run_id: str, portion: int) -> str:
    """Return the prefix of all results of a portion of a run: single ones, and packs (`core.storage.packs`)."""
    return f"results/{run_id}/{portion:05}-"


def cancelled_key(batch_id: str) -> str:
    """Return the key of the object that marks a batch as cancelled."""
    return f"results/{batch_id}/cancelled"


def batch_prefixes(batch_id: str) -> tuple[str, ...]:
    """Return the prefixes of everything that the store holds of a batch."""
    return f"{UPLOADS}{batch_id}/", f"{THUMBNAILS}{batch_id}/", f"results/{batch_id}/"


def originals_before(batch_id: str) -> str:
    """Return the prefix of a batch's originals in earlier versions; see `key_before`."""
    return f"{DROPS}{batch_id}/"


def run_key(run_id: str) -> str:
    """Return the key of a run's progress."""
    return f"{RUNS}{run_id}/run.json"


def portion_key(run_id: str, number: int) -> str:
    """Return the key of the list of objects in a portion of a run."""
    return f"{RUNS}{run_id}/{number:05}.json"


def part_name(number: int) -> str:
    """Return the name of the file with a portion's results."""
    return f"part-{number:05}.parquet"


def part_key(run_id: str, number: int) -> str:
    return f"exports/{run_id}/{part_name(number)}"


def model_default_key(name: str) -> str:
    return f"{MODELS}{name}/default.json"


def model_prefix(name: str, version: str = "") -> str:
    return f"{MODELS}{name}/{version}/" if version else f"{MODELS}{name}/"


def converted_prefix(name: str, version: str) -> str:
    """Return the prefix of a registry model's form for OpenVINO."""
    return f"{MODELS}{name}/{version}/openvino/"


def int8_prefix(name: str, weights_hash: str) -> str:
    """Return the prefix of the int8 form of a model with exactly these weights."""
    return f"{MODELS}{name}/int8-{weights_hash[:16]}/"


def adaptive_state_key(backbone: str) -> str:
    return f"{ADAPTIVE}{backbone}/state"


def adaptive_example_key(backbone: str, image_id: str) -> str:
    """Return the key of one image's features."""
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
