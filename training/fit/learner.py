"""One training step: forward pass, loss, gradients and weight update; and the state that a checkpoint keeps."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from app_tier.engines.modules import PixelNetwork
from training.data.loading import Batch
from training.fit import losses, networks
from training.fit.options import Options
from training.fit.processes import Processes
from training.fit.schedule import Cosine

_DTYPES = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Module = TypeVar("Module", bound=nn.Module)


class NotANumber(ArithmeticError):
    """The loss or its gradient is infinite or undefined. The step changed no weight."""


class Ema(Generic[Module]):
    """An exponential moving average of a network's weights and batch statistics, kept in the copy `module`.

    It is mostly better than the last weights and never noisier.
    """

    def __init__(self, module: Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._decay = decay

    def update(self, module: nn.Module, step: int) -> None:
        """Update the average after optimiser step `step`, counted from 1.

        It forgets faster early on, because it starts from random weights.
        """
        decay = min(self._decay, step / (step + 9))
        ours, theirs = self.module.state_dict(), module.state_dict()
        with torch.no_grad():
            for name, mean in ours.items():
                if mean.is_floating_point():
                    mean.lerp_(theirs[name].to(mean.dtype), 1 - decay)
                else:
                    mean.copy_(theirs[name])


class Learner:
    """A network with its optimiser and the moving average of its weights. `schedule` covers all steps."""

    def __init__(self, module: PixelNetwork, options: Options, schedule: Cosine, processes: Processes) -> None:
        self._options = options
        self._schedule = schedule
        self._processes = processes
        if options.frozen_backbone:
            networks.freeze_backbone(module)
        self._module = module.to(processes.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        processes.broadcast_weights(self._module)
        self._ema = Ema(self._module, options.ema) if options.ema else None
        self._shared = processes.wrap(self._module)
        self._loss = losses.find_loss(options.loss)
        self._optimizer = torch.optim.AdamW(networks.group_weights(self._module, options.weight_decay), lr=options.lr)
        self._scaler = torch.amp.GradScaler(processes.device.type, enabled=options.amp == "fp16")

    @property
    def evaluated_module(self) -> PixelNetwork:
        """The network that is validated and saved: the moving average of the weights if there is one."""
        module: PixelNetwork = self._ema.module if self._ema else self._module
        return module

    def step(self, number: int, batches: Sequence[Batch]) -> float:
        """Take step `number`, counted from 0, over all batches and return their mean loss over all processes.

        Raises NotANumber without changing a weight.
        """
        torch.manual_seed(_mix_seed(self._options.seed, number, self._processes.rank))
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate(number)
        networks.set_training_mode(self._module, frozen=self._options.frozen_backbone)
        total = torch.zeros((), device=self._processes.device)
        for position, batch in enumerate(batches):
            if position < len(batches) - 1:
                with self._processes.no_sync(self._shared):
                    total += self._backward(batch, len(batches))
            else:
                total += self._backward(batch, len(batches))
        value = float(self._processes.average(total))
        self._apply(value)
        if self._ema:
            self._ema.update(self._module, number + 1)
        return value

    def rate(self, number: int) -> float:
        """Return the learning rate of step `number`."""
        return self._schedule.rate(number)

    def loss(self, outputs: Tensor, truth: Tensor) -> float:
        """Return the training loss of outputs (N, C) against truth (N, C)."""
        return float(self._loss(outputs, truth))

    def state(self) -> dict[str, Any]:
        """Return everything a checkpoint needs, as tensors and plain values."""
        return {
            "network": self._module.state_dict(),
            "ema": self._ema.module.state_dict() if self._ema else None,
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned for the same network and options."""
        self._module.load_state_dict(state["network"])
        if self._ema:
            self._ema.module.load_state_dict(state["ema"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])

    def _backward(self, batch: Batch, parts: int) -> Tensor:
        """Accumulate the batch's gradients and return its share of the step's loss."""
        batch = batch.to(self._processes.device)
        with autocast(self._processes.device, self._options):
            outputs = self._shared(batch.pixels)
        loss = self._loss(outputs, batch.truth) / parts
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _apply(self, loss: float) -> None:
        """Update the weights unless the loss or gradient is not finite. The fp16 scaler skips overflowing steps."""
        self._scaler.unscale_(self._optimizer)
        learned = [parameter for parameter in self._module.parameters() if parameter.requires_grad]
        norm = float(nn.utils.clip_grad_norm_(learned, self._options.clip or math.inf))
        if not math.isfinite(loss) or (not self._scaler.is_enabled() and not math.isfinite(norm)):
            self._optimizer.zero_grad()
            raise NotANumber(f"the loss is {loss:g}, the norm of its gradient {norm:g}")
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()


def autocast(device: torch.device, options: Options) -> torch.autocast:
    """Return the context of the mixed precision that the options ask for."""
    return torch.autocast(device.type, dtype=_DTYPES[options.amp], enabled=options.amp != "off")


def _mix_seed(*parts: int) -> int:
    """Hash several numbers into one seed, so that neighbouring steps get unrelated seeds."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7])
