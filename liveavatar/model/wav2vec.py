"""The official voice front end: 16 kHz sound through wav2vec2 to all of its hidden states, 50 rows a second.

States: the embedding output and one per layer, of which the last is taken *after* the encoder's final LayerNorm, as the
model was trained with. (transformers 5 lists that state before the norm.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from liveavatar.optional import require

WINDOW, HOP = 400, 320  # samples: a row every 20 ms, from 25 ms of sound


def rows_of(samples: int) -> int:
    """Rows that so many samples give."""
    return max(0, (samples - WINDOW) // HOP + 1)


def normalise_waveform(samples: Tensor) -> Tensor:
    """Samples [..., N] to zero mean and unit variance over N, as the official processor does."""
    mean, variance = samples.mean(-1, keepdim=True), samples.var(-1, keepdim=True, correction=0)
    return (samples - mean) * torch.rsqrt(variance + 1e-7)


class Wav2VecStates(nn.Module):
    """A `Wav2Vec2Model` (under `network`) and the convention for its states.

    settings: the published `config.json`; what only training uses (masking, layer drop) is switched off.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        transformers = require("transformers", "the wav2vec2 voice encoder")
        inference = {"apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}
        config = transformers.Wav2Vec2Config.from_dict({**settings, **inference})
        self.layers, self.width = int(config.num_hidden_layers), int(config.hidden_size)
        self.network = transformers.Wav2Vec2Model(config)

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """Normalised waveform [1, N] -> states [layers + 1, rows, width] in the network's dtype.

        Raises ValueError when the sound is too short for a row.
        """
        if rows_of(waveform.shape[-1]) < 1:
            raise ValueError(f"{waveform.shape[-1]} samples give no row; at least {WINDOW} are needed: pad with silence")
        dtype = self.network.feature_projection.projection.weight.dtype
        out = self.network(waveform.to(dtype), output_hidden_states=True)
        states = torch.cat([*out.hidden_states[:-1], out.last_hidden_state])
        assert len(states) == self.layers + 1, "another version of transformers lists other states"
        return states
