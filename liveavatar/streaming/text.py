"""A prompt's keys and values for every layer: made once per prompt, or anew in each evaluation as the release does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from liveavatar.config import RolloutOptions
from liveavatar.model.transformer import S2VTransformer


def text_for(model: S2VTransformer, rows: Tensor, options: RolloutOptions) -> Sequence[Any]:
    """Keys and values per layer of text rows [B, up to text_len, text_dim], in the way the options name."""
    return model.encode_text(rows) if options.text_keys == "cached" else TextEachCall(model, rows)


class TextEachCall(Sequence[Any]):
    """Nothing is kept: a layer's keys and values are computed when it asks. The same function, for comparing speed."""

    def __init__(self, model: S2VTransformer, rows: Tensor) -> None:
        self.model, self.rows = model, rows
        self._embedded: Tensor | None = None

    def __len__(self) -> int:
        return len(self.model.blocks)

    def __iter__(self) -> Iterator[Any]:
        return (self[layer] for layer in range(len(self)))

    def __getitem__(self, layer: Any) -> Any:
        # Layers ask in order, so the first of them begins an evaluation.
        if layer == 0 or self._embedded is None:
            self._embedded = self.model.embed_text(self.rows)
        return self.model.blocks[layer].seen_text(self._embedded)  # type: ignore[operator,union-attr]
