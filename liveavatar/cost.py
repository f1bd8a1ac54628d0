"""What one evaluation of one block costs, in closed form from the sizes: operations, and bytes that stay in memory.

Counts are of the function, not of how it is computed: a form that needs fewer operations shows as a higher rate. A
multiplication with its addition is 2 operations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from liveavatar.config import TransformerConfig
from liveavatar.model.positions import TokenGrid


@dataclass(frozen=True)
class BlockSizes:
    """A block in a stream: latent frames, their height and width, slots of the window (the current block included)."""

    frames: int
    height: int
    width: int
    slots: int

    def tokens(self, config: TransformerConfig) -> int:
        """Tokens of a block."""
        return self.frames * TokenGrid(config, self.height, self.width).frame_tokens

    def beside(self, config: TransformerConfig) -> int:
        """Conditioning tokens: the reference's and motion's."""
        grid = TokenGrid(config, self.height, self.width)
        return grid.frame_tokens + len(grid.motion())


@dataclass(frozen=True)
class StepCost:
    """Operations of one evaluation. linear: products with weights, which 8 bits can halve; attention: the rest.

    text: keys and values of the text, which the released code computes in every evaluation and this one once per prompt
    (not part of `total`).
    """

    linear: int
    audio_linear: int
    self_attention: int
    cross_attention: int
    text: int

    @property
    def weights(self) -> int:
        """Operations that multiply with weights."""
        return self.linear + self.audio_linear

    @property
    def attention(self) -> int:
        """Operations between activations."""
        return self.self_attention + self.cross_attention

    @property
    def total(self) -> int:
        return self.weights + self.attention


def step_cost(c: TransformerConfig, sizes: BlockSizes, filled: int | None = None) -> StepCost:
    """The cost of one evaluation with `filled` slots of the window (None: all of them).

    Keys and values of text and voice, the time embedding and the sink are made elsewhere and not counted.
    """
    q, patch = sizes.tokens(c), math.prod(c.patch_size)
    seen = (sizes.slots if filled is None else filled) * q + sizes.beside(c)
    injections, voice_tokens = len(c.audio_inject_layers), c.num_audio_token + 1
    pose = c.cond_dim * patch if c.cond_source == "sink" else 0
    ends = 2 * q * c.dim * patch * (c.in_dim + c.out_dim) + 2 * (q // sizes.frames) * c.dim * pose
    return StepCost(
        linear=2 * q * (6 * c.dim**2 + 2 * c.dim * c.ffn_dim) * c.num_layers + ends,
        audio_linear=2 * q * 2 * c.dim**2 * injections,
        self_attention=4 * q * seen * c.dim * c.num_layers,
        cross_attention=4 * q * c.dim * (c.text_len * c.num_layers + voice_tokens * injections),
        text=2 * c.text_len * 2 * c.dim**2 * c.num_layers,
    )


def cache_bytes(c: TransformerConfig, sizes: BlockSizes, caches: int, element_bytes: int) -> int:
    """Keys and values of `caches` rolling caches, and the un-rotated ones of the sink."""
    beside = sizes.beside(c)
    tokens = caches * (sizes.slots * sizes.tokens(c) + beside) + beside
    return 2 * c.num_layers * c.dim * tokens * element_bytes
