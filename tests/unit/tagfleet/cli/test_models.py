"""`tagfleet models`: a network's weights go in by name, come out whole, and serve."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import save_file

from app_tier.worker import selection
from config.settings import PoolSettings, Settings
from core.domain.messages import TagOptions
from core.errors import WeightsInvalid, WeightsMissing
from core.storage import folders
from core.storage.models import Input, Manifest, Registry, sha256_of
from core.wiring import Backend
from tagfleet.cli import cli

NETWORK = "test_efficientnet"
Run = Callable[..., Result]


@pytest.fixture
def run(settings: Settings, engine_cache: Path) -> Run:
    def run(*arguments: str | Path) -> Result:
        environ = {"TAGFLEET_HOME": str(settings.home), "TAGFLEET_CACHE": str(engine_cache)}
        return CliRunner().invoke(cli, ["models", *map(str, arguments)], env=environ)

    return run


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "pets.safetensors"
    save_file(timm.create_model(NETWORK, num_classes=3).state_dict(), path)
    return path


@pytest.fixture
def add(run: Run, weights: Path, tmp_path: Path) -> Run:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\nhedgehog\n")

    def add(*more: str | Path, source: Path = weights) -> Result:
        about = ("--architecture", f"timm/{NETWORK}", "--labels", labels, "--crop", "32", "--resize", "36")
        return run("add", "pets", source, *about, *more)

    return add


def registered(settings: Settings) -> list[str]:
    return [manifest.reference for manifest in Registry(Backend(settings).store).list()[0]]


def test_a_model_goes_in_comes_out_and_goes_into_another_deployment(
    run: Run, add: Run, settings: Settings, tmp_path: Path
) -> None:
    card = tmp_path / "card.md"
    card.write_text("# Pets\nMeasured on nobody's pets.")
    added = add("--card", card, "--licence", "CC0")
    assert added.exit_code == 0, added.output
    (reference,) = registered(settings)
    assert added.output == f"added {reference}: imagenet, 3 labels, 0 MB\n"
    assert run("list", "--check").output == f"* {reference}  imagenet, 3 labels, 0 MB\n1 checked, 0 damaged\n"
    shown = run("show", "pets").output
    assert "Measured on nobody's pets." in shown
    assert "licence  CC0" in shown
    assert run("export", "pets", tmp_path / "out").exit_code == 0
    assert run("remove", reference).output == f"removed {reference}\n"
    assert registered(settings) == []
    assert run("add", "pets", tmp_path / "out").exit_code == 0
    assert registered(settings) == [reference]


def test_torchs_own_files_are_read_as_tensors_and_nothing_else(add: Run, weights: Path, tmp_path: Path) -> None:
    good, evil = tmp_path / "good.pth", tmp_path / "evil.pth"
    torch.save(timm.create_model(NETWORK, num_classes=3).state_dict(), good)
    assert add(source=good).exit_code == 0
    torch.save({"weights": Path("anything that is no tensor")}, evil)
    refused = add(source=evil)
    assert isinstance(refused.exception, WeightsInvalid)
    assert str(refused.exception).startswith(f"{evil} cannot be read as weights: ")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: timm.create_model(NETWORK, num_classes=4).state_dict(), "is missing or has another shape"),
        (lambda: timm.create_model("test_vit", num_classes=3).state_dict(), "does not hold weights of pets"),
        (
            lambda: {
                name: torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else tensor
                for name, tensor in timm.create_model(NETWORK, num_classes=3).state_dict().items()
            },
            "NaN or infinite outputs",
        ),
    ],
)
def test_weights_that_cannot_serve_are_refused(
    add: Run, settings: Settings, tmp_path: Path, make: Callable[[], dict[str, torch.Tensor]], says: str
) -> None:
    wrong = tmp_path / "wrong.safetensors"
    save_file(make(), wrong)
    refused = add(source=wrong)
    assert isinstance(refused.exception, WeightsInvalid)
    assert says in str(refused.exception)
    assert registered(settings) == []


def test_a_name_of_which_nothing_is_known_is_asked_about(run: Run, weights: Path) -> None:
    refused = run("add", "pets", weights)
    assert isinstance(refused.exception, WeightsInvalid)
    assert "name it (`--architecture timm/NAME`), and give its labels" in str(refused.exception)


@pytest.mark.parametrize("option", ["--labels", "--card"])
def test_a_file_beside_the_weights_that_is_no_text_is_named(add: Run, tmp_path: Path, option: str) -> None:
    (tmp_path / "latin.txt").write_bytes("Käse\n".encode("latin-1"))
    refused = add(option, tmp_path / "latin.txt")
    assert refused.exit_code == 2
    assert "latin.txt is not UTF-8: invalid continuation byte at byte 1" in refused.output.replace("\n", " ")


def test_a_damaged_model_is_found_by_list(run: Run, add: Run, settings: Settings) -> None:
    add()
    (reference,) = registered(settings)
    Backend(settings).store.put(f"models/pets/{reference.partition('@')[2]}/model.safetensors", b"x")
    listed = run("list", "--check")
    assert listed.exit_code == 1
    assert f"the weights of {reference} are damaged" in listed.output


@pytest.mark.parametrize("multilabel", [False, True])
def test_what_was_added_serves(add: Run, settings: Settings, engine_cache: Path, *, multilabel: bool) -> None:
    """By the same code as a worker's, on its engine, with the outputs that timm itself computes."""
    assert add(*(["--multilabel", "--threshold", "0.45"] if multilabel else [])).exit_code == 0
    ours = settings.model_copy(update={"cache": engine_cache})
    (reference,) = registered(settings)
    choice = selection.choose(PoolSettings(tagger="pets"), ours, Backend(settings).store)
    assert choice.current()
    tagger = choice.load()
    assert (tagger.name, tagger.version, tagger.shape) == ("pets", reference, (32, 32, 3))
    frame = tagger.preprocess(Image.effect_noise((64, 48), 80).convert("RGB"))
    (all_of_them,) = tagger.infer(frame[None], [TagOptions(min_confidence=0.0)])
    confidences = [tag.confidence or 0 for tag in all_of_them.tags]
    assert len(confidences) == 3
    assert confidences == sorted(confidences, reverse=True)
    assert (abs(sum(confidences) - 1) < 1e-3) is not multilabel
    (above,) = tagger.infer(frame[None], [TagOptions()])
    if multilabel:
        assert [tag.name for tag in above.tags] == [tag.name for tag in all_of_them.tags if tag.confidence >= 0.45]


def test_a_new_default_is_noticed_and_a_pinned_version_is_not(add: Run, run: Run, settings: Settings) -> None:
    add()
    (first,) = registered(settings)
    store = Backend(settings).store
    by_name = selection.choose(PoolSettings(tagger="pets"), settings, store)
    pinned = selection.choose(PoolSettings(tagger=first), settings, store)
    add("--temperature", "2")
    assert (by_name.current(), pinned.current()) == (False, True)
    assert run("default", first).exit_code == 0
    assert by_name.current()


def test_a_pool_without_its_model_falls_back(settings: Settings, tmp_path: Path) -> None:
    store = Backend(settings).store
    with pytest.raises(WeightsMissing, match="there is no model 'coco80' in the registry"):
        selection.choose(PoolSettings(tagger="coco80"), settings, store)
    choice = selection.choose(PoolSettings(tagger="coco80", fallback="efficientnet-lite0"), settings, store)
    assert choice.notice.startswith("Photos are tagged by efficientnet-lite0: there is no model 'coco80'")


def test_outputs_are_those_of_the_reference(add: Run, settings: Settings, engine_cache: Path, weights: Path) -> None:
    from app_tier.engines import modules
    from app_tier.taggers.registered import to_network

    add("--multilabel")
    store = Backend(settings).store
    manifest = Registry(store).find("pets")
    ours = settings.model_copy(update={"cache": engine_cache})
    tagger = selection.choose(PoolSettings(tagger="pets"), ours, store).load()
    frames = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = modules.build(to_network(manifest), weights)(torch.from_numpy(frames)).sigmoid().numpy()
    said = tagger.infer(frames, [TagOptions(min_confidence=0.0)] * 3)
    for row, prediction in zip(expected, said, strict=True):
        found = {tag.name: tag.confidence for tag in prediction.tags}
        assert [found[label] for label in manifest.labels] == pytest.approx(row.tolist(), abs=0.02)


def test_a_worker_without_torch_serves_what_was_added(add: Run, settings: Settings, tmp_path: Path) -> None:
    add("--multilabel")
    script = (
        "import sys, os; from config.settings import load, PoolSettings; from core.wiring import Backend;"
        "from app_tier.worker import selection; s = load(os.environ);"
        "tagger = selection.choose(PoolSettings(tagger='pets'), s, Backend(s).store).load();"
        "print(tagger.version, sorted({'torch', 'torchvision', 'timm'} & set(sys.modules)))"
    )
    environment = {"TAGFLEET_HOME": str(settings.home), "TAGFLEET_CACHE": str(tmp_path / "new machine"), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{registered(settings)[0]} []"
    assert not (tmp_path / "new machine" / "weights").exists(), "weights were fetched that nothing runs"


def test_where_there_is_no_form_the_weights_are_fetched_and_converted(
    add: Run, settings: Settings, tmp_path: Path
) -> None:
    add("--multilabel")
    (reference,) = registered(settings)
    store = Backend(settings).store
    store.delete([info.key for info in store.list(f"models/pets/{reference.partition('@')[2]}/openvino/")])
    cache = tmp_path / "new machine"
    tagger = selection.choose(PoolSettings(tagger="pets"), settings.model_copy(update={"cache": cache}), store).load()
    assert tagger.version == reference
    assert (cache / "weights" / f"{reference}.safetensors").is_file()


def test_a_damaged_form_is_named_and_never_used(add: Run, settings: Settings, tmp_path: Path) -> None:
    add()
    (reference,) = registered(settings)
    store = Backend(settings).store
    key = f"models/pets/{reference.partition('@')[2]}/openvino/model.bin"
    store.put(key, b"other weights")
    elsewhere = settings.model_copy(update={"cache": tmp_path / "new machine"})
    with pytest.raises(WeightsInvalid, match=f"{key} in the store is damaged: add the model again"):
        selection.choose(PoolSettings(tagger="pets"), elsewhere, store).load()
    assert not list((tmp_path / "new machine" / "engines").iterdir())


def test_models_that_are_folders_are_listed_and_removed(run: Run, settings: Settings, tmp_path: Path) -> None:
    store, source = Backend(settings).store, tmp_path / "florence2"
    source.mkdir()
    for name in ("config.json", "model.safetensors"):
        (source / name).write_text("first")
    first = folders.add(store, "florence2", source, 1.0)
    (source / "config.json").write_text("second")
    second = folders.add(store, "florence2", source, 2.0)
    assert run("list").output.splitlines() == [
        f"* {second.reference}  folder of 2 files",
        f"  {first.reference}  folder of 2 files",
    ]
    assert run("remove", second.reference).output == f"removed {second.reference}\n"
    assert folders.every(store) == ([first], [])
    assert folders.find(store, "florence2") == first


def test_a_damaged_folder_is_named_and_harms_no_other_model(run: Run, settings: Settings, tmp_path: Path) -> None:
    store, source = Backend(settings).store, tmp_path / "florence2"
    source.mkdir()
    for name in ("config.json", "model.safetensors", "my notes.txt", folders.MANIFEST_FILE):
        (source / name).write_text("first")
    first = folders.add(store, "florence2", source, 1.0)
    assert sorted(first.files) == ["config.json", "model.safetensors"]
    (source / "config.json").write_text("second")
    second = folders.add(store, "florence2", source, 2.0)
    key = f"models/florence2/{second.version}/{folders.MANIFEST_FILE}"
    store.put(key, b"{")
    assert folders.find(store, "florence2") == first
    with pytest.raises(WeightsInvalid, match=key):
        folders.find(store, "florence2", second.version)
    listed = run("list")
    assert listed.exit_code == 1
    assert f"* {first.reference}" in listed.output
    assert f"tagfleet: {key} in the store is damaged" in listed.output
    assert f"`tagfleet models remove {second.reference}`" in listed.output
    assert folders.add(store, "florence2", source, 3.0) == folders.find(store, "florence2")
    store.put(key, b"{")
    assert run("remove", second.reference).output == f"removed {second.reference}\n"
    assert folders.every(store) == ([first], [])
    assert not list(store.list(f"models/florence2/{second.version}/"))
    assert isinstance(run("remove", "florence2@").exception, WeightsMissing)


def test_a_version_of_a_network_of_the_house_goes_before_its_own_weights(
    run: Run, settings: Settings, engine_cache: Path
) -> None:
    """Its labels are the manifest's, and who serves the house's own weights notices that there is one."""
    store = Backend(settings).store
    ours = settings.model_copy(update={"cache": engine_cache})
    pool = PoolSettings(tagger="efficientnet-lite0")
    before = selection.choose(pool, ours, store)
    assert (before.name, before.current()) == ("efficientnet-lite0", True)
    path = settings.home / "w.safetensors"
    path.write_bytes(b"weights")
    manifest = Manifest(
        name="efficientnet-lite0",
        family="imagenet",
        architecture="timm/tf_efficientnet_lite0",
        labels=("cat", "dog"),
        input=Input(resize=256, crop=224),
        weights_sha256=sha256_of(path),
        weights_bytes=7,
    )
    Registry(store).add(manifest, path)
    assert not before.current()
    assert selection.choose(pool, ours, store).name == manifest.reference
    elsewhere = selection.choose(pool.model_copy(update={"weights": str(path)}), ours, store)
    assert (elsewhere.name, elsewhere.current()) == ("efficientnet-lite0", True)


def test_a_fallback_serves_only_until_the_model_is_there(add: Run, settings: Settings) -> None:
    store = Backend(settings).store
    pool = PoolSettings(tagger="pets", fallback="efficientnet-lite0")
    fallback = selection.choose(pool, settings, store)
    assert fallback.notice
    assert fallback.current()
    add()
    assert not fallback.current()
    assert selection.choose(pool, settings, store).name == registered(settings)[0]


@pytest.mark.parametrize("name", ["adaptive", "florence2", "Pets"])
def test_a_name_that_no_model_may_have_is_refused(
    add: Run, run: Run, settings: Settings, tmp_path: Path, name: str
) -> None:
    add()
    run("export", "pets", tmp_path / "out")
    refused = run("add", name, tmp_path / "out")
    assert isinstance(refused.exception, WeightsInvalid)
    assert f"{name} cannot be added" in str(refused.exception)
    assert len(registered(settings)) == 1
