"""Fine-tune Florence-2 on boxes or captions for a few epochs, with resumption after an interruption.

After each epoch, the run's folder gets `epoch-N/`, which appears whole or not at all. It has the model as the tagger
serves it, and the optimiser's state. All randomness is drawn from (seed, epoch, step), so a training that was
interrupted ends with the same weights as one that was not.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import pickle
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app_tier.engines.florence2 import load, make_prompt, read_normalisation
from app_tier.taggers.florence2 import to_square
from core.errors import BadImage, DataInvalid, RunInvalid, TrainingStopped
from core.imaging.decode import DecodeBudget, Decoder
from core.storage import folders
from training.data import files
from training.florence2.examples import FineTuningExample

OPTIMISER = "optimiser.pt"
_CLIP = 1.0
_IGNORED = -100
_DECODE_MB = 600
_EPOCH = re.compile(r"^epoch-(\d+)$")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """`lr` is AdamW's constant learning rate; `batch` is images per step. The vision tower needs most of the memory."""

    epochs: int = 3
    lr: float = 1e-6
    batch: int = 4
    freeze_vision: bool = True
    seed: int = 0


def tune(examples: Sequence[FineTuningExample], weights: Path, run: Path, options: Options, tell: Tell) -> Path:
    """Train, and return the last epoch's folder, which the tagger can serve.

    `tell` receives progress lines. Raises WeightsInvalid, RunInvalid if `run` belongs to another training, DataInvalid
    if no image is readable, and TrainingStopped, whose text says what is kept.
    """
    files.make_folder(run)
    _check_same_run(run, examples, weights, options)
    done = _find_last_epoch(run)
    tuning = _Tuning(run / f"epoch-{done}" if done else weights, options)
    if done:
        tuning.resume(run / f"epoch-{done}" / OPTIMISER)
        tell(f"resuming after epoch {done} of {options.epochs}")
    for epoch in range(done + 1, options.epochs + 1):
        loss = tuning.epoch(examples, epoch, tell)
        tuning.save(run, epoch)
        tell(f"epoch {epoch} of {options.epochs}: loss {loss:.4f}")
    return run / f"epoch-{max(done, options.epochs)}"


class _Tuning:
    def __init__(self, folder: Path, options: Options) -> None:
        self._options = options
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model, self._processor = load(folder)
        self._model.to(self._device)
        pictures = self._processor.image_processor
        self._side = int(pictures.size.height)
        self._mean, self._scale = read_normalisation(pictures, self._device)
        self._decoder = Decoder(self._side, DecodeBudget(_DECODE_MB))
        if options.freeze_vision:
            self._model.model.vision_tower.requires_grad_(False)
        learning = [weight for weight in self._model.parameters() if weight.requires_grad]
        self._optimiser = torch.optim.AdamW(learning, lr=options.lr)

    def resume(self, path: Path) -> None:
        """Load the optimiser's state. Raises RunInvalid if it is damaged."""
        try:
            self._optimiser.load_state_dict(torch.load(path, map_location=self._device, weights_only=True))
        except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0]
            raise RunInvalid(
                f"{path} cannot be read ({reason}): remove its folder to resume at the previous epoch"
            ) from None

    def epoch(self, examples: Sequence[FineTuningExample], number: int, tell: Tell) -> float:
        """Train one epoch and return the mean loss of its steps."""
        self._model.train()
        if self._options.freeze_vision:
            self._model.model.vision_tower.eval()
        order = np.random.default_rng((self._options.seed, number)).permutation(len(examples))
        losses: list[float] = []
        for step, start in enumerate(range(0, len(order), self._options.batch)):
            some = [examples[place] for place in order[start : start + self._options.batch]]
            torch.manual_seed(hash((self._options.seed, number, step)) % (1 << 62))
            seen = [(example, picture) for example in some if (picture := self._picture(example, tell)) is not None]
            if seen:
                losses.append(self._step(seen, f"epoch {number}, step {step + 1}"))
        if not losses:
            raise DataInvalid(f"none of the {len(examples)} images can be read")
        return sum(losses) / len(losses)

    def _step(self, seen: Sequence[tuple[FineTuningExample, np.ndarray]], where: str) -> float:
        inputs = self._inputs(seen)
        bf16 = self._device.type == "cuda"
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=bf16):
            loss: Tensor = self._model(**inputs).loss
        value = _finite(loss, f"{where}: the loss")
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), _CLIP)
        _finite(
            norm, f"{where}: the norm of the gradient"
        )  # a finite loss can have one, and a step would make every weight nan
        self._optimiser.step()
        return value

    def _inputs(self, seen: Sequence[tuple[FineTuningExample, np.ndarray]]) -> dict[str, Tensor]:
        tokenizer = self._processor.tokenizer
        as_tensors = {"add_special_tokens": False, "padding": True, "return_tensors": "pt"}
        asked = tokenizer([make_prompt(self._processor, example.task) for example, _ in seen], **as_tensors)
        answers = tokenizer(
            [f"{tokenizer.bos_token}{example.answer}{tokenizer.eos_token}" for example, _ in seen], **as_tensors
        )
        longest = self._model.config.text_config.max_position_embeddings - 1
        labels = answers.input_ids.masked_fill(answers.attention_mask == 0, _IGNORED)[:, :longest]
        pixels = torch.from_numpy(np.stack([picture for _, picture in seen])).to(self._device)
        return {
            "input_ids": asked.input_ids.to(self._device),
            "attention_mask": asked.attention_mask.to(self._device),
            "pixel_values": (pixels.permute(0, 3, 1, 2).float() - self._mean) * self._scale,
            "labels": labels.to(self._device),
        }

    def _picture(self, example: FineTuningExample, tell: Tell) -> np.ndarray | None:
        try:
            return to_square(self._decoder.show(example.path.read_bytes()), self._side)
        except (BadImage, OSError) as error:
            tell(f"skipped {example.path}: {error}")
            return None

    def save(self, run: Path, epoch: int) -> None:
        """Save the epoch as `epoch-N`, then delete the previous one. Raises TrainingStopped."""
        folder = run / f"epoch-{epoch}"
        part = run / f".part-{folder.name}"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            state = io.BytesIO()  # torch's own writer reports a full disk as a failed C++ assertion
            torch.save(self._optimiser.state_dict(), state)
            (part / OPTIMISER).write_bytes(state.getbuffer())
            self._model.save_pretrained(part)
            self._processor.save_pretrained(part)
            _sync_folder(part)
            part.replace(folder)
            _sync(run)  # before the older epoch is deleted
        except Exception as error:  # noqa: BLE001  # each library reports disk errors in its own way
            raise TrainingStopped(
                f"{folder} could not be written ({str(error).splitlines()[0]}); the previous epoch is kept. "
                "Free some space, and run the same command again to resume"
            ) from None
        finally:
            shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(run / f"epoch-{epoch - 1}", ignore_errors=True)


def _check_same_run(run: Path, examples: Sequence[FineTuningExample], weights: Path, options: Options) -> None:
    """Write `run.json`, or compare with the existing one. The number of epochs may change. Raises RunInvalid."""
    digest = hashlib.sha256(
        "\n".join(f"{example.path.name}\0{example.task}\0{example.answer}" for example in examples).encode()
    )
    about: dict[str, Any] = {
        "weights": folders.version_of(folders.hashes(weights)),
        "lessons": len(examples),
        "lessons_sha256": digest.hexdigest(),
        "options": {name: value for name, value in asdict(options).items() if name != "epochs"},
    }
    file = run / "run.json"
    if not file.exists():
        files.write(file, json.dumps(about, indent=1).encode())
        return
    try:
        before = json.loads(file.read_text())
    except ValueError:
        raise RunInvalid(f"{file} is damaged: name another folder for a new run") from None
    if wrong := [name for name, value in about.items() if before.get(name) != value]:
        raise RunInvalid(f"{run} belongs to another training ({wrong[0]} differs): name another folder")


def _finite(value: Tensor, what: str) -> float:
    number = float(value.detach())
    if not math.isfinite(number):
        raise TrainingStopped(
            f"{what} is not finite ({number}); the last complete epoch is kept. Start a new run with a lower --lr"
        )
    return number


def _sync_folder(folder: Path) -> None:
    """Flush the folder and its files to the disk."""
    for path in folder.iterdir():
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _find_last_epoch(run: Path) -> int:
    return max((int(match[1]) for path in run.iterdir() if (match := _EPOCH.match(path.name))), default=0)
