"""Prompts of a stream: which one holds from which block on, and what the model makes of each, computed once.

The paper's t_i: every block has a prompt of its own. A change counts from a block's beginning, never inside one.
"""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from torch import Tensor

from liveavatar.model.attention import Seen
from liveavatar.model.transformer import S2VTransformer

Held = TypeVar("Held")
KEPT_PROMPTS = 4  # of one pipeline; at 14B one prompt's keys and values are 0.4 GB


class TextKeys:
    """A prompt's keys and values per layer; the last few prompts are kept, so that a call costs nothing twice."""

    def __init__(self, model: S2VTransformer, rows_of: Callable[[str], Tensor], kept: int = KEPT_PROMPTS) -> None:
        """rows_of: prompt -> text rows [1, up to text_len, text_dim]."""
        self.model, self.rows_of, self.kept = model, rows_of, kept
        self._made: OrderedDict[str, Sequence[Seen]] = OrderedDict()

    def __call__(self, prompt: str) -> Sequence[Seen]:
        if prompt not in self._made:
            self._made[prompt] = self.model.encode_text(self.rows_of(prompt))
            if len(self._made) > self.kept:
                self._made.popitem(last=False)
        self._made.move_to_end(prompt)
        return self._made[prompt]


class PromptSchedule(Generic[Held]):
    """Prompts by the block from which they hold; what has been passed is forgotten."""

    def __init__(self, texts: Callable[[str], Held]) -> None:
        """texts: what is wanted of a prompt, such as its keys and values."""
        self.texts = texts
        self._coming: list[tuple[int, str]] = []  # ordered by block

    def set(self, block: int, prompt: str) -> None:
        """Let `prompt` hold from `block` on; one set earlier for the same block is replaced."""
        blocks = [waiting for waiting, _ in self._coming]
        place = bisect.bisect_left(blocks, block)
        replaced = place < len(blocks) and blocks[place] == block
        self._coming[place : place + replaced] = [(block, prompt)]

    def __call__(self, block: int) -> Held | None:
        """What begins to hold at `block`; None where nothing changes."""
        prompt = None
        while self._coming and self._coming[0][0] <= block:
            _, prompt = self._coming.pop(0)
        return None if prompt is None else self.texts(prompt)
