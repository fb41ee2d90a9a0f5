"""The places where model folders are found, and downloads that are complete or absent."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app_tier.models import downloading, model_folders
from app_tier.models.request import ModelRequest
from app_tier.taggers import florence2
from app_tier.worker import selection
from config.settings import PoolSettings, Settings
from core.errors import WeightsInvalid, WeightsMissing
from core.storage import folders
from core.wiring import Backend

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{}"}
REPOSITORY = "somebody/Florence-2-base-ft"


def put(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (FILES | files).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def wanted(settings: Settings, backend: Backend) -> ModelRequest:
    return ModelRequest("florence2", PoolSettings(tagger="florence2"), settings, backend.store)


def test_settings_path_then_weights_folder_then_store(wanted: ModelRequest, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"put the files of huggingface\.co/somebody/.* into .*weights/florence2"):
        model_folders.find(wanted, "florence2", REPOSITORY)
    added = folders.add(wanted.store, "florence2", put(tmp_path / "added"), 1.0)
    found = model_folders.find(wanted, "florence2", REPOSITORY)
    assert found.version == added.version
    assert {path.name: path.read_bytes() for path in found.fetch().iterdir()} == FILES
    here = put(wanted.settings.weights_folder / "florence2", more=b"no part of the model")
    assert model_folders.find(wanted, "florence2", REPOSITORY).fetch() == here
    assert model_folders.find(wanted, "florence2", REPOSITORY).version == added.version, "named by what is in it"
    other = put(tmp_path / "other", **{"config.json": b"[]"})
    pool = PoolSettings(tagger="florence2", weights=str(other))
    named = model_folders.find(ModelRequest("florence2", pool, wanted.settings, wanted.store), "florence2", REPOSITORY)
    assert (named.fetch(), named.version == added.version) == (other, False)
    nowhere = PoolSettings(tagger="florence2", weights=str(tmp_path / "nowhere"))
    with pytest.raises(WeightsMissing, match=r"nowhere holds no model: it has no config\.json and no model"):
        model_folders.find(ModelRequest("florence2", nowhere, wanted.settings, wanted.store), "florence2", REPOSITORY)


def test_the_latest_model_serves_and_a_pinned_version_stays(wanted: ModelRequest, tmp_path: Path) -> None:
    first = folders.add(wanted.store, "florence2", put(tmp_path / "1"), 1.0)
    found = model_folders.find(wanted, "florence2", REPOSITORY)
    assert found.current()
    second = folders.add(wanted.store, "florence2", put(tmp_path / "2", **{"model.safetensors": b"tuned"}), 2.0)
    assert not found.current()
    assert model_folders.find(wanted, "florence2", REPOSITORY).version == second.version
    pinned = ModelRequest(f"florence2@{first.version}", wanted.pool, wanted.settings, wanted.store)
    assert model_folders.find(pinned, "florence2", REPOSITORY).version == first.version
    missing = ModelRequest("florence2@00000000", wanted.pool, wanted.settings, wanted.store)
    with pytest.raises(WeightsMissing, match="the weights of florence2@00000000 are missing"):
        model_folders.find(missing, "florence2", REPOSITORY)


def test_damage_in_the_store_gives_one_line(wanted: ModelRequest, tmp_path: Path) -> None:
    manifest = folders.add(wanted.store, "florence2", put(tmp_path / "1"), 1.0)
    key = f"models/florence2/{manifest.version}/"
    wanted.store.put(key + "tokenizer.json", b"damaged")
    found = model_folders.find(wanted, "florence2", REPOSITORY)
    with pytest.raises(WeightsInvalid, match=r"tokenizer\.json in the store is damaged: add the model again"):
        found.fetch()
    wanted.store.delete([key + "tokenizer.json"])
    with pytest.raises(WeightsMissing, match=r"tokenizer\.json is no longer in the store"):
        found.fetch()
    assert list((wanted.settings.cache / "weights").iterdir()) == [], "a half copy was left"
    for body, problem in ((b"{", "is damaged"), (b'{"name":"x","files":{},"added_at":1}', "was changed after")):
        wanted.store.put(key + folders.MANIFEST_FILE, body)
        with pytest.raises(WeightsInvalid, match=problem):
            model_folders.find(wanted, "florence2", REPOSITORY)


def test_without_transformers_it_says_what_to_install(
    wanted: ModelRequest, settings: Settings, backend: Backend
) -> None:
    with pytest.raises(WeightsMissing, match=r"transformers, which is not installed: pip install -r requirements-flor"):
        florence2.choose(wanted, find_package=lambda name: None)
    with pytest.raises(WeightsMissing, match="found nowhere"):
        selection.choose(wanted.pool, settings, backend.store)


# --- downloads --------------------------------------------------------------------------------

COMMIT = "5" * 40


class Hub(BaseHTTPRequestHandler):
    """The part of Hugging Face that a download uses. The repository also contains code."""

    protocol_version = "HTTP/1.1"
    files = FILES | {"modeling.py": b"evil", "pytorch_model.bin": b"pickle"}
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = self.path.partition("?")[0]
        api = f"/api/models/{REPOSITORY}"
        name = path.removeprefix(f"/{REPOSITORY}/resolve/{COMMIT}/")
        if path in (api, f"{api}/revision/{COMMIT}", f"{api}/revision/main"):
            self._send(json.dumps({"id": REPOSITORY, "sha": COMMIT}).encode())
        elif path == f"{api}/tree/{COMMIT}":
            self._send(json.dumps([self._listed(name) for name in self.files]).encode())
        elif name in self.files:
            self._send(self.files[name], {"X-Repo-Commit": COMMIT, "ETag": f'"{self._listed(name)["oid"]}"'})
        else:
            self.send_error(404)

    def _listed(self, name: str) -> dict[str, object]:
        content = self.files[name]
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def _send(self, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(200)
        for header, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_download_fetches_no_code_and_reports_its_bytes(hub: str, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    folder = downloading.download_repository(REPOSITORY, tmp_path / "model", lambda *p: told.append(p), endpoint=hub)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == FILES
    assert told[-1] == (sum(map(len, FILES.values())),) * 2
    assert not [path for path in Hub.asked if "modeling" in path or "pytorch_model" in path]
    assert not list(tmp_path.glob(".part-*"))


def test_no_repository_and_no_internet_give_one_line(hub: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing) as refused:
        downloading.download_repository("nobody/nothing", tmp_path / "model", lambda *_: None, endpoint=hub)
    assert "\n" not in str(refused.value)
    silent = ThreadingHTTPServer(("127.0.0.1", 0), Hub)  # takes connections and answers none
    with pytest.raises(WeightsMissing, match=r"127\.0\.0\.1:\d+ cannot be reached"):
        downloading.download_repository(
            REPOSITORY,
            tmp_path / "model",
            lambda *_: None,
            endpoint=f"http://127.0.0.1:{silent.server_port}",
            first_answer_s=0.2,
        )
    silent.server_close()
    assert not (tmp_path / "model").exists()
