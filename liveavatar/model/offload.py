"""A transformer larger than its card: blocks' weights wait in host memory and come to the device one block ahead.

Applied from outside, after weights are loaded and quantised, before anything is compiled. Results do not change. What a
step then costs at least is the weights' way over the bus, so 8-bit weights halve it, and every block that fits should stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from liveavatar.model.attention import Attention
from liveavatar.model.transformer import S2VTransformer

Owner = tuple[nn.Module, str]  # a module and the name of its tensor
SLOTS = 2  # blocks on the device at a time: the one at work and the next


def offload_blocks(model: S2VTransformer, device: torch.device, resident: int = 0) -> S2VTransformer:
    """Keep matrices of the blocks in host memory, all but those of `resident` blocks; the rest of the model on `device`.

    In place. Blocks may stand on either side before. Fused projections are taken apart: they would be copied twice.
    Raises ValueError where `resident` is not between 0 and the number of blocks.
    """
    blocks: list[Any] = list(model.blocks)
    count = len(blocks)
    if not 0 <= resident <= count:
        raise ValueError(f"resident={resident}: the model has {count} blocks; give 0 to {count}")
    # Spread evenly, so that the copy of a streamed block hides behind the resident ones before it.
    streamed = [i for i in range(count) if i * resident // count == (i + 1) * resident // count]
    for block in blocks:
        for module in block.modules():
            if isinstance(module, Attention):
                module.fused = None
    matrices = [list(_matrices(blocks[i])) for i in streamed]
    held = [[_to_host(getattr(owner, name).data, device) for owner, name in block] for block in matrices]
    for block_matrices, tensors in zip(matrices, held, strict=True):
        for (owner, name), tensor in zip(block_matrices, tensors, strict=True):
            getattr(owner, name).data = tensor[:0]  # nothing of it moves with the model
    model.to(device)
    conveyor = _Conveyor(matrices, held, device)
    for turn, index in enumerate(streamed):
        block = blocks[index]
        block.forward = partial(conveyor.run, turn, block.forward)
        block.cross_attn.seen = partial(conveyor.run, turn, block.cross_attn.seen)
    return model


def _matrices(block: nn.Module) -> Iterator[Owner]:
    """The large tensors of a block: weights of linear layers, whatever they are stored in."""
    for module in block.modules():
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if tensor.dim() == 2:
                yield module, name


def _to_host(tensor: Tensor, device: torch.device) -> Tensor:
    """In host memory, page-locked where the device copies from that in the background."""
    host = tensor.to("cpu").contiguous()
    return host if device.type == "cpu" else host.pin_memory(device)


class _Conveyor:
    """Brings streamed blocks' matrices to the device in turn; each call works on one while the next is on its way."""

    def __init__(self, matrices: list[list[Owner]], held: list[list[Tensor]], device: torch.device) -> None:
        self.matrices, self.held, self.device = matrices, held, device
        self.places: list[list[Tensor]] = [
            [torch.empty_like(tensor, device=device) for tensor in block] for block in held[:SLOTS]
        ]
        self.holds: list[int | None] = [None] * len(self.places)  # which turn's matrices each place has
        self.copies = None if device.type == "cpu" else _SideStream(device, len(self.places))

    def run(self, turn: int, work: Callable[..., Any], *args: Any) -> Any:
        """`work(*args)` with the matrices of `turn` on the device."""
        place = self._bring(turn, 0)
        if self.copies is not None:
            self.copies.wait_for_copy(place)
        self._bring((turn + 1) % len(self.matrices), 1 - place)
        for (owner, name), tensor in zip(self.matrices[turn], self.places[place], strict=True):
            getattr(owner, name).data = tensor
        try:
            return work(*args)
        finally:
            if self.copies is not None:
                self.copies.mark_used(place)

    def _bring(self, turn: int, free: int) -> int:
        """Where the matrices of `turn` are or will be; starts their copy to `free` if they are not on their way."""
        if turn in self.holds:
            return self.holds.index(turn)
        if self.copies is None:
            self._copy(turn, free)
        else:
            self.copies.copy(free, partial(self._copy, turn, free))
        self.holds[free] = turn
        return free

    def _copy(self, turn: int, place: int) -> None:
        for tensor, host in zip(self.places[place], self.held[turn], strict=True):
            tensor.copy_(host, non_blocking=True)


class _SideStream:
    """Order between copies, on a stream of their own, and the work that uses them."""

    def __init__(self, device: torch.device, places: int) -> None:
        self.device, self.stream = device, torch.Stream(device=device)
        self.copied = [torch.Event(device=device) for _ in range(places)]
        self.used = [torch.Event(device=device) for _ in range(places)]

    def copy(self, place: int, copy: Callable[[], None]) -> None:
        self.stream.wait_event(self.used[place])
        with self.stream:
            copy()
            self.copied[place].record(self.stream)

    def wait_for_copy(self, place: int) -> None:
        torch.accelerator.current_stream(self.device).wait_event(self.copied[place])

    def mark_used(self, place: int) -> None:
        self.used[place].record(torch.accelerator.current_stream(self.device))
