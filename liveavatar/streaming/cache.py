"""Rolling key/value caches: conditioning tokens, then a ring of the last blocks, per layer; read without copying.

Keys are stored as attention needs them, rotated once at their position on the cache's own time line. That line starts
anew from time to time (`rebase`), so positions stay bounded. State never grows: every slot is allocated once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from liveavatar.config import TransformerConfig
from liveavatar.model.rope import Rotate, rotate, rotate_into, time_shift


class RollingCache:
    """Keys and values of `beside` conditioning tokens and the last `slots` blocks, the current one included.

    missing: tokens that the stream's first block lacks, if it is shorter than the others; its own stand at its slot's end.
    origin: latent frames between the stream's start and time 0 of this cache's line.
    placed: what the conditioning tokens hold now; whoever writes them sets it.
    """

    def __init__(
        self,
        config: TransformerConfig,
        slots: int,
        block_tokens: int,
        batch: int = 1,
        beside: int = 0,
        like: Tensor | None = None,
        missing: int = 0,
        heads: int | None = None,
    ) -> None:
        """like: a tensor of the device and dtype to allocate in; None: float32 on the CPU. heads: fewer than the model's."""
        self.slots, self.block_tokens, self.beside, self.missing, self.origin = slots, block_tokens, beside, missing, 0
        self.head_dim = config.head_dim
        tokens = beside + slots * block_tokens
        shape = (config.num_layers, batch, heads or config.num_heads, tokens, config.head_dim)
        like = torch.zeros(()) if like is None else like
        self.keys, self.values = self._allocated(shape, like), self._allocated(shape, like)
        self.placed: tuple[float, ...] | None = None
        self._views: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}

    def _allocated(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Zeros where this cache keeps its tensors; like: a tensor of the device that attends."""
        return like.new_zeros(shape)

    def write(self, layer: int, block: int, keys: Tensor, values: Tensor, table: Tensor, rotate: Rotate = rotate) -> None:
        """Overwrite the oldest slot with block `block`'s keys, rotated by `table`, and values [B, heads, tokens, d]."""
        own_keys, own_values = self._tokens(self.place_of(block))[layer]
        rotate_into(own_keys, keys, table, rotate)
        own_values.copy_(values)

    def place_of(self, block: int) -> slice:
        """Where block `block`'s tokens stand."""
        start = self.beside + block % self.slots * self.block_tokens
        return slice(start + (self.missing if block == 0 else 0), start + self.block_tokens)

    def read(self, layer: int, block: int) -> tuple[Tensor, Tensor]:
        """Views of the conditioning and all filled slots, in slot order, once block `block` is written."""
        filled = self.beside + min(block + 1, self.slots) * self.block_tokens
        keys, values = self._tokens(slice(0, filled))[layer]
        if self.missing and block < self.slots:  # a short first block is in the window: copied, for this while only
            return self._without_gap(keys), self._without_gap(values)
        return keys, values

    def _without_gap(self, held: Tensor) -> Tensor:
        return torch.cat([held[..., : self.beside, :], held[..., self.beside + self.missing :, :]], dim=-2)

    def _tokens(self, place: slice) -> list[tuple[Tensor, Tensor]]:
        """Views of a run of each layer's tokens, keys and values. There are few such runs: each is cut out once."""
        run = (place.start, place.stop)
        if run not in self._views:
            pieces = (self.keys[..., place, :], self.values[..., place, :])
            self._views[run] = list(zip(*(piece.unbind(0) for piece in pieces), strict=True))
        return self._views[run]

    def blocks_in_slot_order(self, block: int) -> list[int]:
        """Which block each filled slot holds, once block `block` is written."""
        first = max(0, block - self.slots + 1)
        return sorted(range(first, block + 1), key=lambda held: held % self.slots)

    def rebase(self, origin: int) -> None:
        """Let time 0 be latent frame `origin` of the stream: turn the ring's keys by the difference."""
        if origin != self.origin:
            ring = self.keys[..., self.beside :, :]
            ring.copy_(rotate(ring, time_shift(self.origin - origin, self.head_dim).to(ring.device)))
            self.origin = origin

    @property
    def nbytes(self) -> int:
        """Memory held, constant over the stream."""
        return self.keys.nbytes + self.values.nbytes
