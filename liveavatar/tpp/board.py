"""The board that all processes of an engine read and write: small things by name, over a torch.distributed store.

Blocks do not pass here, only what happens once per stream: orders, prompts, the adapted sink, signs of life, faults.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import safetensors.torch
import torch.distributed as dist
from torch import Tensor

POLL_S = 0.002


class Board:
    """One connection to the board. Threads that may wait at the same time need one each."""

    def __init__(self, store: dist.Store) -> None:
        self._store = store

    def put(self, name: str, value: object) -> None:
        """Anything that JSON can say."""
        self._store.set(name, json.dumps(value))

    def get(self, name: str) -> Any:
        """What was put; call it only for what is there."""
        return json.loads(self._store.get(name))

    def put_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Tensors by name, bit for bit."""
        held = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        self._store.set(name, safetensors.torch.save(held))  # type: ignore[arg-type]  # bytes are taken as well

    def get_tensors(self, name: str) -> dict[str, Tensor]:
        """What was put, on the CPU."""
        return safetensors.torch.load(self._store.get(name))

    def has(self, name: str) -> bool:
        """Whether something stands there."""
        return bool(self._store.check([name]))

    def claim(self, name: str, value: object) -> Any:
        """Put `value` unless something stands there; gives what stands there then."""
        return json.loads(self._store.compare_set(name, "", json.dumps(value)))

    def forget(self, *names: str) -> None:
        """Take things down; what is not there does no harm."""
        for name in names:
            self._store.delete_key(name)

    def wait(self, name: str, check: Callable[[], None], poll_s: float = POLL_S, timeout_s: float | None = None) -> bool:
        """Until something stands there, calling `check` meanwhile, which may raise; False when the time is over."""
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.has(name):
            check()
            if end_s is not None and time.monotonic() > end_s:
                return False
            time.sleep(poll_s)
        return True


def local_board() -> Board:
    """A board for a process that is alone."""
    return Board(dist.HashStore())
