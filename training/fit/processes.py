"""Communication between the processes of one training, which torchrun starts one per GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

Item = TypeVar("Item")

_PATIENCE = timedelta(hours=6)
"""How long a process waits for the others: the first one searches all images, maybe millions, for copies alone."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among its peers. With a single process, every method is local."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes the files and calls the observers."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Wrap the module so that its gradients are averaged over all processes."""
        if self.count == 1:
            return module
        devices = [self.device.index] if self.device.type == "cuda" else None
        # With find_unused_parameters=False, DDP regroups the gradients after its first step and sums them in another
        # order from then on. A resumed process would regroup at a later step than one that was never killed.
        return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=True)

    def no_sync(self, module: nn.Module) -> AbstractContextManager[object]:
        """Return a context that keeps gradients local, for all but the last batch of an accumulated step."""
        if isinstance(module, DistributedDataParallel):
            return module.no_sync()
        return nullcontext()

    def average(self, value: Tensor) -> Tensor:
        """Return the mean of the value over all processes."""
        if self.count == 1:
            return value
        value = value.clone()
        distributed.all_reduce(value)
        return value / self.count

    def gather(self, item: Item) -> list[Item]:
        """Return the item of each process, ordered by rank."""
        if self.count == 1:
            return [item]
        found: list[Any] = [None] * self.count
        distributed.all_gather_object(found, item)
        return found

    def broadcast_weights(self, module: nn.Module) -> None:
        """Copy weights and batch statistics from the first process to all others."""
        if self.count > 1:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, 0)

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def join_processes(environ: Mapping[str, str]) -> Iterator[Processes]:
    """Join the processes that torchrun's variables describe; without them, run alone.

    The device is GPU number LOCAL_RANK, or the CPU if there is no GPU.
    """
    count = int(environ.get("WORLD_SIZE", "1"))
    local = int(environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = False  # benchmarking may choose another kernel each time
        torch.backends.cudnn.deterministic = True
    if count == 1:
        yield Processes(0, 1, device)
        return
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(int(environ["RANK"]), count, device)
    finally:
        distributed.destroy_process_group()
