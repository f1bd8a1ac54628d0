"""Rolling caches that lie in host memory and lend the device one layer at a time, for cards that cannot hold them all.

Four caches of the 14B model are 49 GB. What a step then pays is one cache's way over the bus. Results do not change.
"""

from __future__ import annotations

import torch
from torch import Tensor

from liveavatar.config import TransformerConfig
from liveavatar.streaming.cache import RollingCache
from liveavatar.streaming.rollout import Rollout


class HostCache(RollingCache):
    """A `RollingCache` whose keys and values stand in host memory, page-locked where a device copies from there."""

    def __init__(
        self,
        config: TransformerConfig,
        slots: int,
        block_tokens: int,
        batch: int = 1,
        beside: int = 0,
        like: Tensor | None = None,
    ) -> None:
        """As `RollingCache`; like: a tensor of the device that attends, and of the dtype; None: float32 on the CPU."""
        like = torch.empty(0) if like is None else like
        self.device = like.device
        super().__init__(config, slots, block_tokens, batch, beside, torch.empty(0, dtype=like.dtype))
        if self.device.type != "cpu":
            self.keys, self.values = self.keys.pin_memory(self.device), self.values.pin_memory(self.device)

    def read(self, layer: int, block: int) -> tuple[Tensor, Tensor]:
        """Copies on the device; they live as long as the layer looks at them."""
        keys, values = super().read(layer, block)
        # contiguous: heads of a partly filled ring lie apart, and one copy is faster than many.
        return keys.contiguous().to(self.device, non_blocking=True), values.contiguous().to(self.device, non_blocking=True)


class HostCachedRollout(Rollout):
    """A `Rollout` with its caches in host memory."""

    cache_type = HostCache
