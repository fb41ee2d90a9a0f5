"""One training in one process or in several, as torchrun starts them: one for each GPU."""

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
"""Of one process for the others: the first one alone looks for copies among all images, which may be millions."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among its peers; of one process, all methods do the obvious."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether it is the one that writes files and speaks."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with gradients averaged over all processes."""
        if self.count == 1:
            return module
        devices = [self.device.index] if self.device.type == "cuda" else None
        # Without looking for unused parameters it deals the gradients out anew after its first step, which sums them in
        # another order: a process that goes on from a checkpoint does so later than one that was never killed.
        return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=True)

    def no_sync(self, module: nn.Module) -> AbstractContextManager[object]:
        """Within it gradients only add up here: for all but the last part of an accumulated step."""
        if isinstance(module, DistributedDataParallel):
            return module.no_sync()
        return nullcontext()

    def average(self, value: Tensor) -> Tensor:
        if self.count == 1:
            return value
        value = value.clone()
        distributed.all_reduce(value)
        return value / self.count

    def gather(self, item: Item) -> list[Item]:
        """What each process gave, in the order of their ranks."""
        if self.count == 1:
            return [item]
        found: list[Any] = [None] * self.count
        distributed.all_gather_object(found, item)
        return found

    def broadcast_weights(self, module: nn.Module) -> None:
        """Give all processes the first one's weights and batch statistics."""
        if self.count > 1:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, 0)

    def wait(self) -> None:
        if self.count > 1:
            distributed.barrier()


@contextmanager
def join_processes(environ: Mapping[str, str]) -> Iterator[Processes]:
    """By torchrun's variables, or alone without them; on GPU number LOCAL_RANK where there are any, else the CPU."""
    count = int(environ.get("WORLD_SIZE", "1"))
    local = int(environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = False  # the fastest kernel by a race is not the same one each time
        torch.backends.cudnn.deterministic = True
    if count == 1:
        yield Processes(0, 1, device)
        return
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(int(environ["RANK"]), count, device)
    finally:
        distributed.destroy_process_group()
