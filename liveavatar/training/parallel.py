"""Data parallelism of a training run: each process takes its rows of the batch, gradients are averaged once per step.

Start it with `torchrun --nproc-per-node N -m liveavatar.training ...`; without torchrun everything here does nothing.
All processes draw the same whole batch and step the same optimiser, so N processes train what one would.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor


def join() -> None:
    """Join the process group that torchrun describes, if it started this process; take the accelerator of its rank."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or dist.is_initialized():
        return
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None:
        dist.init_process_group("gloo")
        return
    torch.accelerator.set_device_index(int(os.environ["LOCAL_RANK"]))
    backend = dist.get_default_backend_for_device(accelerator.type)
    dist.init_process_group(f"cpu:gloo,{accelerator.type}:{backend}")


def device() -> torch.device:
    """Where this process computes: its accelerator if there is one, else the CPU."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def is_first() -> bool:
    """Whether this process logs and saves."""
    return not dist.is_initialized() or dist.get_rank() == 0


def own_rows(batch: int, part: int = 0, parts: int = 1) -> slice:
    """This process's rows of a batch, or of its `part`-th micro-batch; raises ValueError when shares are uneven."""
    count = dist.get_world_size() if dist.is_initialized() else 1
    if batch % (count * parts):
        micro = f" in {parts} micro-batches" if parts > 1 else ""
        raise ValueError(f"a batch of {batch} cannot be shared by {count} processes{micro}; change --batch or the processes")
    share = batch // (count * parts)
    rank = dist.get_rank() if dist.is_initialized() else 0
    first = (rank * parts + part) * share
    return slice(first, first + share)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace every gradient by the mean over processes, in one message."""
    if not dist.is_initialized():
        return
    # Sharded gradients were summed when they were made.
    gradients = [p.grad for p in parameters if p.grad is not None and not isinstance(p.grad, DTensor)]
    if not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def any_wants(stop: bool) -> bool:
    """True in all processes when one of them says so: a signal or a clock must not part them."""
    if not dist.is_initialized():
        return stop
    flag = torch.tensor(float(stop))
    dist.all_reduce(flag)
    return bool(flag > 0)


def wait() -> None:
    """Until all processes are here."""
    if dist.is_initialized():
        dist.barrier()
