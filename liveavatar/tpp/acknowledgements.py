"""What the viewer has taken, told by the last stage to the first, where only so many blocks may be on their way."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
import torch.distributed as dist

from liveavatar.tpp.parts import Credits
from liveavatar.tpp.watch import Watch


class Acknowledgements:
    """Listens, on the first stage, from now on."""

    def __init__(self, end_rank: int, watch: Watch) -> None:
        self.end_rank, self.watch = end_rank, watch
        self._stream, self._credits = -1, Credits(None)
        threading.Thread(target=self._listen, name="acknowledged", daemon=True).start()

    def tell(self, stream: int, credits: Credits) -> None:
        """From now on it is this stream's credits that are meant."""
        self._credits, self._stream = credits, stream

    def _listen(self) -> None:
        word = torch.zeros(2, dtype=torch.int64)
        while True:
            try:
                dist.recv(word, self.end_rank)
            except RuntimeError:
                self.watch.found(self.end_rank, "ended without a word")
                return
            stream, block = word.tolist()
            if stream == self._stream:
                self._credits.shown(block)


def acknowledger(front_rank: int, watch: Watch) -> Callable[[int, int], None]:
    """On the last stage: tells the first that of a stream a block was taken."""

    def tell(stream: int, block: int) -> None:
        try:
            dist.send(torch.tensor([stream, block]), front_rank)
        except RuntimeError:
            watch.found(front_rank, "ended without a word")

    return tell
