"""Rolling caches that lie in host memory and lend the device one layer at a time, for cards that cannot hold them all.

Four caches of the 14B model are 49 GB. What a step then pays is one cache's way over the bus. Results do not change.
"""

from __future__ import annotations

import torch
from torch import Tensor

from liveavatar.streaming.cache import RollingCache
from liveavatar.streaming.rollout import Rollout


class HostCache(RollingCache):
    """A `RollingCache` whose keys and values stand in host memory, page-locked where a device copies from there."""

    def _allocated(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        self.device = like.device
        zeros = torch.zeros(shape, dtype=like.dtype)
        return zeros if self.device.type == "cpu" else zeros.pin_memory(self.device)

    def read(self, layer: int, block: int) -> tuple[Tensor, Tensor]:
        """Copies on the device; they live as long as the layer looks at them."""
        keys, values = super().read(layer, block)
        # contiguous: heads of a partly filled ring lie apart, and one copy is faster than many.
        return keys.contiguous().to(self.device, non_blocking=True), values.contiguous().to(self.device, non_blocking=True)


class HostCachedRollout(Rollout):
    """A `Rollout` with its caches in host memory."""

    cache_type = HostCache
