"""Networks by name: those of the table, and any classifier of timm's."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from app_tier.models.network_lookup import find_network, find_timm_network, is_network
from app_tier.models.networks import NETWORKS
from app_tier.worker import selection
from config import labels
from config.settings import PoolSettings, Settings
from core.domain.messages import TagOptions
from core.errors import WeightsInvalid, WeightsMissing
from core.wiring import Backend
from tests import tiny_classifier as tiny


def test_every_network_has_its_labels() -> None:
    assert {len(labels.load(one.labels)) for one in NETWORKS.values() if isinstance(one.labels, str)} == {1000}


def test_the_table_agrees_with_timm() -> None:
    import timm

    for name in ("mobilenetv2", "efficientnet-lite0"):
        ours = find_network(name)
        theirs = timm.get_pretrained_cfg(ours.architecture.partition("/")[2])
        assert (ours.crop, ours.mean, ours.std) == (theirs.input_size[1], theirs.mean, theirs.std)
        assert (ours.resize, ours.interpolation) == (round(ours.crop / theirs.crop_pct), theirs.interpolation)
        assert ours.download in ("", theirs.url)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    assert not is_network("resnet51")
    with pytest.raises(WeightsMissing, match=r"no tagger 'resnet51'; there are: resnet50, .*timm/NAME"):
        find_network("resnet51", tmp_path)
    for name in ("timm/no_such_net", "timm/resnet50.no_such_tag", "timm/../../etc/passwd"):
        with pytest.raises(WeightsMissing, match="timm has no network"):
            find_network(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "outputs"), [("timm/vit_base_patch16_224.augreg_in21k", 21843), ("timm/vit_small_patch14_dinov2", 0)]
)
def test_a_network_with_unknown_labels_is_refused(tmp_path: Path, name: str, outputs: int) -> None:
    with pytest.raises(WeightsInvalid, match=f"{name} has {outputs} outputs, and only ImageNet's 1,000 have names"):
        find_network(name, tmp_path)


def test_timms_configuration_is_asked_for_once(tmp_path: Path) -> None:
    found = find_network("timm/test_resnet", tmp_path)
    assert (found.resize, found.crop, found.interpolation) == (168, 160, "bilinear")
    assert found.download == "https://huggingface.co/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
    (kept,) = (tmp_path / "networks").iterdir()
    script = (
        "import sys; from pathlib import Path; from app_tier.models.network_lookup import find_network;"
        f"assert find_network('timm/test_resnet', Path({str(tmp_path)!r})).crop == 160;"
        "print(sorted({'torch', 'timm', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    kept.write_text("damaged")
    assert find_network("timm/test_resnet", tmp_path) == found


def test_without_timm_a_kept_description_is_used(tmp_path: Path) -> None:
    def not_installed(package: str) -> str:
        raise PackageNotFoundError(package)

    with pytest.raises(WeightsMissing, match="timm/test_resnet needs timm, which is not installed here"):
        find_timm_network("timm/test_resnet", tmp_path, not_installed)
    found = find_timm_network("timm/test_resnet", tmp_path)
    assert find_timm_network("timm/test_resnet", tmp_path, not_installed) == found
    (tmp_path / "timm-test_resnet-timm0.json").write_text("damaged")
    assert find_timm_network("timm/test_resnet", tmp_path, not_installed) == found


def test_a_timm_network_serves(settings: Settings, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"worker": settings.worker.model_copy(update={"threads": 1})})
    tiny.write_weights(settings.weights_folder / tiny.FILE)
    pool = PoolSettings(tagger=tiny.NAME)
    tagger = selection.choose(pool, settings, Backend(settings).store).load()
    assert tagger.version.startswith(f"{tiny.NAME}@")
    for label, picture in tiny.pictures(4, seed=3):
        (said,) = tagger.infer(tagger.preprocess(picture)[None], [TagOptions(top_k=1)])
        assert said.tags[0].name == tagger.labels[label]
