"""Which parts of the transformer compute in which type: matrices in the chosen one, small delicate parts in float32.

As in the release: features and embedding of the time, their projection, modulations, the audio encoder and the head run
in float32, whatever the rest runs in. Applied from outside to a finished model.
"""

from __future__ import annotations

import torch
from torch import nn

FULL_PRECISION = ("time_embedding", "time_projection", "voice_embedding", "casual_audio_encoder", "head", "residual")


def set_precision(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Cast a transformer in place: float32 for what needs it, `dtype` for the rest; one tensor at a time."""
    for name, module in model.named_children():
        if name not in FULL_PRECISION:
            module.to(dtype)
        else:
            module.to(torch.float32)
    for name, parameter in model.named_parameters():
        if name.endswith(".modulation"):
            parameter.data = parameter.data.to(torch.float32)
    return model
