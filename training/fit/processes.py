"""Train in one process or in several that torchrun starts, one for each GPU."""

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
"""How long processes wait for each other: the first one alone looks for copies among maybe millions of images."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among its peers. With a single process every method is trivial."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def shared(self, module: nn.Module) -> nn.Module:
        """Return the module with gradients averaged over all processes."""
        if self.count == 1:
            return module
        devices = [self.device.index] if self.device.type == "cuda" else None
        # Without looking for unused parameters it deals the gradients out anew after its first step, which sums them in
        # another order: a process that goes on from a checkpoint does so later than one that was never killed.
        return DistributedDataParallel(module, device_ids=devices, find_unused_parameters=True)

    def unsynchronised(self, module: nn.Module) -> AbstractContextManager[object]:
        """Within the block gradients only add up locally: for all but the last part of an accumulated step."""
        if isinstance(module, DistributedDataParallel):
            return module.no_sync()
        return nullcontext()

    def average(self, value: Tensor) -> Tensor:
        if self.count == 1:
            return value
        value = value.clone()
        distributed.all_reduce(value)
        return value / self.count

    def gathered(self, item: Item) -> list[Item]:
        """Return what each process gave, by rank."""
        if self.count == 1:
            return [item]
        found: list[Any] = [None] * self.count
        distributed.all_gather_object(found, item)
        return found

    def align(self, module: nn.Module) -> None:
        """Give all processes the first one's weights and batch statistics."""
        if self.count > 1:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, 0)

    def wait(self) -> None:
        if self.count > 1:
            distributed.barrier()


@contextmanager
def joined(environ: Mapping[str, str]) -> Iterator[Processes]:
    """Join the peers that torchrun's variables name, or train alone; on GPU LOCAL_RANK if any, else on the CPU."""
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
