"""Downloads published weights: one checkpoint file, or the files of a Hugging Face repository.

Every download is checked, appears whole or not at all, and fails early without internet. Errors are WeightsMissing with
one line for people; a wrong hash is WeightsInvalid.
"""

from __future__ import annotations

import hashlib
import re
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from core.errors import WeightsInvalid, WeightsMissing
from core.util.atomic import PRIVATE, atomic_path

T = TypeVar("T")

DownloadProgress = Callable[[int, int], None]
"""Called with the bytes so far and the total bytes (0 if unknown)."""

FIRST_BYTE_S = 5.0
"""Seconds until the first answer. A server that has sent nothing by then counts as unreachable."""
RESOLVE = "/resolve/"
"""Part of a file's address at Hugging Face. With `/raw/` in its place, the address gives the file's LFS pointer."""
_POINTER_BYTES = 1024
_MODEL_FILES = ["*.json", "*.txt", "model.safetensors"]
"""The kinds of files that hold no code."""


def download_file(url: str, path: Path, progress: DownloadProgress) -> Path:
    """Download a checkpoint to `path` and check its SHA-256.

    Raises WeightsMissing if it cannot be downloaded, WeightsInvalid if its hash is not the published one.
    """
    expected = _published_sha256(url)
    response = _open(url)
    digest = hashlib.sha256()

    total, done = int(response.headers.get("Content-Length") or 0), 0
    try:
        with response, atomic_path(path, mode=PRIVATE, make_parents=True) as part, part.open("wb") as file:
            while chunk := response.read(1 << 20):
                digest.update(chunk)
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
            if not digest.hexdigest().startswith(expected):
                raise WeightsInvalid(f"{url}: the download is damaged (its SHA-256 is not {expected})")
    except OSError as error:
        raise WeightsMissing(f"{url}: the download broke off ({error})") from None
    return path


def download_repository(
    repository: str,
    folder: Path,
    progress: DownloadProgress,
    *,
    endpoint: str | None = None,
    first_answer_s: float = FIRST_BYTE_S,
) -> Path:
    """Download a repository's model files into `folder`; files that may hold code are left out.

    `endpoint` is the server (None: Hugging Face). Resumes a download that broke off. Raises WeightsMissing.
    """
    from huggingface_hub import HfApi, snapshot_download

    api = HfApi(endpoint=endpoint, token=False)
    try:
        revision = call_with_deadline(first_answer_s, lambda: api.model_info(repository, timeout=first_answer_s).sha)
    except Exception as error:  # noqa: BLE001  # the library's own, or its transport's
        raise WeightsMissing(f"{api.endpoint} cannot be reached: {_first_line(error)}") from None
    part = folder.with_name(f".part-{folder.name}")
    progress(0, 0)
    try:
        snapshot_download(
            repository,
            revision=revision,
            local_dir=part,
            allow_patterns=_MODEL_FILES,
            endpoint=endpoint,
            token=False,
            tqdm_class=_bar_class(progress),
        )
        part.replace(folder)
    except Exception as error:  # noqa: BLE001  # the library's own, its transport's and the disk's
        raise WeightsMissing(f"{repository}: the download broke off ({_first_line(error)})") from None
    return folder


def call_with_deadline(seconds: float, call: Callable[[], T]) -> T:
    """Return or raise what `call` does. Raises TimeoutError after `seconds`; the call continues in its own thread.

    Use it for calls without a time limit of their own, such as a name look-up.
    """
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except Exception as error:  # noqa: BLE001  # raised where it is waited for
            outcome.set_exception(error)

    Thread(target=run, daemon=True, name="deadline").start()
    try:
        return outcome.result(seconds)
    except TimeoutError:
        if outcome.done():
            raise
        raise TimeoutError(f"no answer within {seconds:g} s") from None


def _published_sha256(url: str) -> str:
    """Return the file's SHA-256: its first digits from the name, or all of them from Hugging Face's LFS pointer."""
    if RESOLVE not in url:
        return Path(url).stem.rpartition("-")[2]
    try:
        with _open(url.replace(RESOLVE, "/raw/")) as response:
            pointer = response.read(_POINTER_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise WeightsMissing(f"{url}: the download broke off ({error})") from None
    found = re.search(r"^oid sha256:([0-9a-f]{64})$", pointer, re.MULTILINE)
    if not found:
        raise WeightsMissing(f"{url}: no hash is published to check the download by")
    return found.group(1)


def _open(url: str) -> HTTPResponse:
    """Return the response once its first byte has arrived. Raises WeightsMissing."""
    try:
        response: HTTPResponse = call_with_deadline(
            FIRST_BYTE_S,
            lambda: urllib.request.urlopen(url, timeout=FIRST_BYTE_S),  # noqa: S310  # https, from our own table
        )
    except (OSError, HTTPException) as error:
        host = url.split("/")[2]
        raise WeightsMissing(f"{host} cannot be reached: {getattr(error, 'reason', error)}") from None
    return response


def _bar_class(progress: DownloadProgress) -> Any:
    """Return a progress bar that draws nothing and reports its bytes to `progress`."""
    from tqdm import tqdm

    class ReportingBar(tqdm):  # type: ignore[misc]  # tqdm is untyped
        def __init__(self, *args: Any, **options: Any) -> None:
            self._counts_bytes = options.get("unit") == "B"
            super().__init__(*args, **options | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if self._counts_bytes:
                progress(int(self.n), int(self.total or 0))

    return ReportingBar


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
