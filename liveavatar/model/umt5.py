"""The official text encoder: a cleaned prompt through UMT5 to the rows that the transformer attends to.

The network is transformers' `UMT5EncoderModel`. Padding is hidden inside the encoder and cut off behind it; the
transformer then sees zero rows up to its text length, without a mask.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from liveavatar.optional import require

PADDING = 0  # token id


@dataclass(frozen=True)
class UMT5Sizes:
    """Sizes of the encoder; every layer has its own table of relative positions (UMT5)."""

    vocabulary: int
    dim: int
    attention_dim: int
    ffn_dim: int
    heads: int
    layers: int
    buckets: int = 32
    max_distance: int = 128

    def __post_init__(self) -> None:
        if self.attention_dim % self.heads:
            raise ValueError(f"attention_dim {self.attention_dim} is no multiple of {self.heads} heads")


class UMT5Encoder(nn.Module):
    """Token ids to rows; the network's parameters lie under `network` with transformers' names."""

    def __init__(self, sizes: UMT5Sizes) -> None:
        super().__init__()
        transformers = require("transformers", "the UMT5 text encoder")
        self.sizes = sizes
        config = transformers.UMT5Config(
            vocab_size=sizes.vocabulary,
            d_model=sizes.dim,
            d_kv=sizes.attention_dim // sizes.heads,
            d_ff=sizes.ffn_dim,
            num_layers=sizes.layers,
            num_heads=sizes.heads,
            relative_attention_num_buckets=sizes.buckets,
            relative_attention_max_distance=sizes.max_distance,
            feed_forward_proj="gated-gelu",  # the tanh form
            dropout_rate=0.0,
        )
        self.network = transformers.UMT5EncoderModel(config)
        # One embedding module for both of its names, so that replacing its weight replaces it under both.
        self.network.set_input_embeddings(self.network.shared)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids and mask (1 = a token, 0 = padding), both [B, S] -> rows [B, S, dim]; rows of padding mean nothing."""
        return self.network(input_ids=ids, attention_mask=mask).last_hidden_state


class PromptEncoder(nn.Module):
    """Prompts to zero-padded rows. tokenise: a cleaned prompt to at most `text_len` ids that end in the end token."""

    def __init__(self, encoder: UMT5Encoder, tokenise: Callable[[str], list[int]], text_len: int) -> None:
        super().__init__()
        self.encoder, self.tokenise, self.text_len = encoder, tokenise, text_len

    @torch.no_grad()
    def forward(self, prompts: list[str]) -> Tensor:
        """Rows [len(prompts), text_len, dim] in the encoder's dtype; rows after a prompt's last token are zero."""
        ids = [self.tokenise(clean_prompt(prompt)) for prompt in prompts]
        longest = max(len(row) for row in ids)
        if longest > self.text_len:
            raise ValueError(f"a prompt has {longest} tokens, more than {self.text_len}; the tokenizer must cut it")
        device = self.encoder.network.shared.weight.device
        padded = torch.tensor([row + [PADDING] * (longest - len(row)) for row in ids], device=device)
        lengths = torch.tensor([len(row) for row in ids], device=device)
        mask = torch.arange(longest, device=device) < lengths[:, None]
        rows = self.encoder(padded, mask.long())
        return cut_padding(rows, mask, self.text_len)


def cut_padding(rows: Tensor, mask: Tensor, text_len: int) -> Tensor:
    """Rows [B, S, D] with a boolean mask [B, S] -> [B, text_len, D]: what is masked, and all behind it, is zero."""
    kept = torch.where(mask.bool().unsqueeze(-1), rows, rows.new_zeros(()))
    return nn.functional.pad(kept, (0, 0, 0, text_len - rows.shape[1]))


def clean_prompt(prompt: str) -> str:
    """As the official tokenizer does: text repaired (ftfy), HTML entities resolved twice, white space collapsed."""
    fixed = require("ftfy", "cleaning prompts as the official model expects them").fix_text(prompt)
    return re.sub(r"\s+", " ", html.unescape(html.unescape(fixed))).strip()
