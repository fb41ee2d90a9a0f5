"""The program that torchrun starts in each process: `torchrun … -m tests.unit.training.peer WHAT …`."""

from __future__ import annotations

import os
import signal
import sys
from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from app_tier.engines.modules import PixelNetwork
from tests.unit.training.small_run import ALONE, OPTIONS, Recorder, places
from training.data.loading import Batch
from training.fit import starting
from training.fit.learner import Learner
from training.fit.loop import train
from training.fit.options import Options
from training.fit.processes import Processes, join_processes
from training.fit.schedule import Cosine

EPOCHS = 2


def training(source: str, folder: str, killed_at: str) -> None:
    """Train with a checkpoint every second step. The first process kills itself after step `killed_at`; 0: never."""

    def kill(step: int) -> None:
        if step == int(killed_at):
            os.kill(os.getpid(), signal.SIGKILL)

    options = Options(**{**OPTIONS, "batch": 2, "accumulate": 1, "epochs": EPOCHS, "patience": 0})
    with join_processes(os.environ) as processes:
        wanted = starting.TrainingRequest(Path(source), Path(folder), options, from_scratch=True, save_every=2)
        task = starting.prepare_task(wanted, places(Path(folder).parent), processes, lambda _: None)
        train(task, processes, Recorder(kill))


def step(folder: str) -> None:
    """Take one step over two batches in each of two processes, and one over all four as one batch in one process."""
    random = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (8, 4, 4, 3), generator=random, dtype=torch.uint8)
    truth = torch.randint(0, 2, (8, 3), generator=random).float()
    parts = [Batch(pixels[at : at + 2], truth[at : at + 2], ()) for at in range(0, 8, 2)]
    with join_processes(os.environ) as processes:
        save_file(_learned(processes, parts[processes.rank :: 2]), f"{folder}/{processes.rank}.safetensors")
    if processes.first:
        save_file(_learned(ALONE, [Batch(pixels, truth, ())]), f"{folder}/alone.safetensors")


def _learned(processes: Processes, batches: list[Batch]) -> dict[str, Tensor]:
    """Return loss, weights and AdamW's mean gradients after one step of a network without batch norm."""
    torch.manual_seed(processes.rank)  # each process starts with other weights; the first one's count
    layers = {"flat": nn.Flatten(), "below": nn.Linear(48, 6), "bend": nn.GELU(), "fc": nn.Linear(6, 3)}
    module = PixelNetwork(nn.Sequential(OrderedDict(layers)), (0.5,) * 3, (0.2,) * 3)
    options = Options(loss="bce", amp="off", ema=0.0, clip=0.0, lr=0.01, warmup=0.0)
    learner = Learner(module, options, Cosine(options.lr, 10, 0), processes)
    found = {"loss": torch.tensor(learner.step(0, batches))}
    state = learner.state()
    found.update({f"weight.{name}": value.clone() for name, value in state["network"].items()})
    for number, kept in state["optimizer"]["state"].items():
        found[f"gradient.{number}"] = kept["exp_avg"]
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "training":
        training(*sys.argv[2:])
    else:
        step(*sys.argv[2:])
