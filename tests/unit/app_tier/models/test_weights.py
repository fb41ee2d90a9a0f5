"""The places where weights are found, and the checks of downloads."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app_tier.models import weights
from app_tier.models.network_lookup import find_network
from app_tier.models.networks import Network
from app_tier.models.weights import Places
from config.settings import Settings
from core.errors import WeightsInvalid, WeightsMissing
from core.storage.models import Input, Manifest, Registry, sha256_of
from core.wiring import Backend


@pytest.fixture
def places(settings: Settings, backend: Backend) -> Places:
    return Places("", settings.weights_folder, backend.store, settings.cache)


def test_the_weights_folder_comes_before_the_registry(places: Places, backend: Backend, tmp_path: Path) -> None:
    path, known = tmp_path / "w.safetensors", find_network("resnet50")
    path.write_bytes(b"from the registry")
    manifest = Manifest(
        name="resnet50",
        family="imagenet",
        architecture=known.architecture,
        labels=known.label_names,
        input=Input(resize=232, crop=224),
        weights_sha256=sha256_of(path),
        weights_bytes=path.stat().st_size,
    )
    Registry(backend.store).add(manifest, path)
    found = weights.find(known, places)
    assert (found.path.read_bytes(), found.origin) == (b"from the registry", "registry")
    with pytest.raises(WeightsMissing):  # of other outputs than those that are asked for
        weights.find(replace(known, labels=("cat", "dog")), places)
    places.folder.mkdir(parents=True)
    (places.folder / "resnet50.safetensors").write_bytes(b"from the folder")
    found = weights.find(find_network("resnet50"), places)
    assert (found.path.read_bytes(), found.origin) == (b"from the folder", "weights folder")


def test_weights_are_read_again_only_when_they_changed(places: Places) -> None:
    places.folder.mkdir(parents=True)
    path = places.folder / "resnet50.safetensors"
    path.write_bytes(b"first")
    before = path.stat()
    assert weights.find(find_network("resnet50"), places).sha256 == hashlib.sha256(b"first").hexdigest()
    path.write_bytes(b"other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert weights.find(find_network("resnet50"), places).sha256 == hashlib.sha256(b"first").hexdigest(), "it was read"
    os.utime(path)
    assert weights.find(find_network("resnet50"), places).sha256 == hashlib.sha256(b"other").hexdigest()


def test_a_path_in_the_settings_that_is_not_a_file_is_an_error(places: Places) -> None:
    wrong = Places("/nowhere/w.safetensors", places.folder, places.store, places.cache)
    with pytest.raises(WeightsMissing, match=r"the settings name /nowhere/w\.safetensors"):
        weights.find(find_network("resnet50"), wrong)


def test_missing_weights_say_where_to_put_them(places: Places) -> None:
    with pytest.raises(WeightsMissing, match=r"put resnet50\.safetensors into .*weights"):
        weights.find(find_network("resnet50"), places)


SHA256 = hashlib.sha256(b"weights").hexdigest()
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize 7\n".encode()


@pytest.fixture
def web() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said = POINTER if "/raw/" in self.path else b"weights"
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def downloadable(url: str) -> Network:
    return replace(find_network("resnet50"), download=url)


def test_a_download_is_checked_against_the_hash_in_its_name(places: Places, web: str) -> None:
    progress: list[tuple[int, int]] = []
    with pytest.raises(WeightsInvalid, match="the download is damaged"):
        weights.find(downloadable(f"{web}/net-00000000.pth"), places, download=lambda *p: progress.append(p))
    assert progress == [(7, 7)]
    assert list((places.cache / "weights").iterdir()) == []
    good = downloadable(f"{web}/net-{hashlib.sha256(b'weights').hexdigest()[:8]}.pth")
    assert weights.find(good, places, download=lambda *_: None).path.read_bytes() == b"weights"
    assert weights.find(good, places).origin == "download cache"


TIMM = replace(find_network("mobilenetv2"), name="timm/some_net.tag_in1k")


def test_a_download_from_hugging_face_is_checked_by_its_published_hash(places: Places, web: str) -> None:
    there = replace(TIMM, download=f"{web}/timm/some_net/resolve/main/model.safetensors")
    found = weights.find(there, places, download=lambda *_: None)
    assert (found.path.name, found.sha256) == ("timm-some_net.tag_in1k.safetensors", SHA256)
    assert weights.find(there, places).origin == "download cache"


def test_a_download_that_cannot_begin_says_so(places: Places) -> None:
    nowhere = replace(TIMM, download="http://127.0.0.1:9/resolve/model.safetensors")
    with pytest.raises(WeightsMissing, match=r"127\.0\.0\.1:9 cannot be reached.*put timm-some_net\.tag_in1k"):
        weights.find(nowhere, places, download=lambda *_: None)


def test_a_slash_in_a_name_is_a_dash_in_the_folder(places: Places) -> None:
    places.folder.mkdir(parents=True)
    (places.folder / "timm-some_net.tag_in1k.safetensors").write_bytes(b"from the folder")
    assert weights.find(TIMM, places).origin == "weights folder"
