"""`tagfleet tag` against a running deployment."""

from __future__ import annotations

import re
import signal

import pytest

pytestmark = pytest.mark.e2e


def test_an_interrupted_tag_goes_on_and_uploads_nothing_twice(deployment, client, make_photos, until, tmp_path):
    folder = tmp_path / "album"
    folder.mkdir()
    for name, content in make_photos(300, size=(160, 120)):
        (folder / name.rpartition("/")[2]).write_bytes(content)
    (folder / "broken.jpg").write_bytes(b"no image at all")

    deployment.backend.roster.pause()  # so that the batch is not complete before the interruption
    first = deployment.run("tag", folder)
    until(lambda: sum(batch.total for batch in client.batches()) or first.poll() is not None)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=300)
    assert first.returncode == 130, said
    assert "interrupted" in said
    deployment.backend.roster.resume()

    second = deployment.run("tag", folder, "--format", "jsonl")
    out, said = second.communicate(timeout=300)
    assert second.returncode == 1, said
    assert int(re.search(r"(\d+) of 301 images are uploaded already", said).group(1)) > 0
    assert re.search(r"^broken.jpg: .*\n300 of 301 images tagged, 1 failed", said, re.MULTILINE)
    assert len(out.splitlines()) == 301
    [batch] = client.batches()
    assert batch.total == 301
    assert len(list(deployment.backend.store.list(f"uploads/{batch.id}/"))) == 301
