"""The nano text encoder: words of the prompt to rows, by hashing. The official profile uses UMT5 instead.

A prompt's words are hashed into a fixed number of learned rows, so any prompt is accepted and the same prompt always
gives the same rows.
"""

from __future__ import annotations

import re
import zlib

import torch
from torch import Tensor, nn


class HashedWords(nn.Module):
    """Learned row per hashed word; zero rows after the last word, as the official padding does."""

    def __init__(self, text_dim: int, text_len: int, rows: int = 1024) -> None:
        super().__init__()
        self.text_len = text_len
        self.table = nn.Embedding(rows, text_dim)

    def word_ids(self, prompt: str) -> Tensor:
        """Ids [text_len] of the first words, -1 where there is none."""
        words = re.findall(r"[a-z]+", prompt.lower())[: self.text_len]
        ids = [zlib.crc32(word.encode()) % self.table.num_embeddings for word in words]
        return torch.tensor(ids + [-1] * (self.text_len - len(ids)))

    def forward(self, ids: Tensor) -> Tensor:
        """Ids [B, text_len] -> rows [B, text_len, text_dim]."""
        return self.table(ids.clamp_min(0)) * (ids >= 0).unsqueeze(-1)
