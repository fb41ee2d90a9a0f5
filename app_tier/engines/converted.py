"""Keeps the converted form of a registered model in the store, beside its weights.

With it, a worker on a CPU needs no torch to convert the model.

models/NAME/VERSION/openvino/model.xml, model.bin, golden.npy    the files of `openvino.ConvertedNetwork`
models/NAME/VERSION/openvino/hashes.json                         the SHA-256 of each file, written last
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from app_tier.engines import openvino
from app_tier.models.networks import Network
from app_tier.models.weights import Weights
from core.errors import NotFound, WeightsInvalid
from core.storage import layout
from core.storage.ports import ObjectStore

FILES = ("model.bin", "model.xml", openvino.GOLDEN)
_HASHES = "hashes.json"
_Hashes = TypeAdapter(dict[str, str])


def publish(network: Network, weights: Weights, version: str, store: ObjectStore, cache: Path) -> None:
    """Convert the network and store the converted form beside the model. Raises WeightsInvalid, Unavailable."""
    converted = openvino.convert_once(network, weights.path, weights.sha256, cache)
    prefix = layout.converted_prefix(network.name, version)
    store.delete([prefix + _HASHES])  # a reader now finds no form, rather than new files with old hashes
    hashes = upload_files(converted.folder, prefix, store)
    store.put(prefix + _HASHES, _Hashes.dump_json(hashes), content_type="application/json")


def fetch(network: Network, weights_hash: str, version: str, store: ObjectStore, cache: Path) -> bool:
    """Copy the converted form into the cache if it is not there. Return False if the store has none.

    Raises WeightsInvalid if it is damaged, Unavailable.
    """
    folder = openvino.folder_of(network, weights_hash, cache)
    if folder.is_dir():
        return True
    prefix = layout.converted_prefix(network.name, version)
    try:
        hashes = _Hashes.validate_json(store.get(prefix + _HASHES).data)
    except NotFound:
        return False
    except ValidationError:
        raise WeightsInvalid(f"{prefix}{_HASHES} in the store is damaged: add the model again") from None
    openvino.make_once(folder, lambda part: download_files(prefix, hashes, store, part, "add the model again"))
    return True


def upload_files(folder: Path, prefix: str, store: ObjectStore) -> dict[str, str]:
    """Put a converted network's files under `prefix`, and return the SHA-256 of each. Raises Unavailable."""
    hashes = {}
    for name in FILES:
        data = (folder / name).read_bytes()
        hashes[name] = hashlib.sha256(data).hexdigest()
        store.put(prefix + name, data)
    return hashes


def download_files(prefix: str, hashes: dict[str, str], store: ObjectStore, folder: Path, remedy: str) -> None:
    """Fetch a converted network's files into `folder` and check them.

    Raises WeightsInvalid, with `remedy` at its end, if one is missing or damaged.
    """
    for name in FILES:
        try:
            data = store.get(prefix + name).data
        except NotFound:
            raise WeightsInvalid(f"{prefix}{name} is not in the store: {remedy}") from None
        if hashlib.sha256(data).hexdigest() != hashes.get(name):
            raise WeightsInvalid(f"{prefix}{name} in the store is damaged: {remedy}")
        (folder / name).write_bytes(data)
