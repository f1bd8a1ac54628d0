"""The nano profile's small stand-in for wav2vec2: log-mel columns in, one state per video frame out.

Convolutions without padding, residual, at column rate and then at frame rate. A state depends on its own row of columns
and on `CONTEXT_ROWS` rows before it, never on more, so any piece of sound that holds these rows gives the same state. A
stream need not hold them: each layer can go on from the little that it looks back at (`SpeechPast`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FIRST_KERNEL = 5
_COLUMN_DILATIONS = (1, 2, 4, 1, 2, 4)
_ROW_DILATIONS = (1, 2)
_COLUMNS_PER_ROW = 4  # columns at 100 Hz, rows at 25 Hz
# Columns that the first layers use up, in rows, and rows that the last layers do.
CONTEXT_ROWS = (_FIRST_KERNEL - 1 + 2 * sum(_COLUMN_DILATIONS)) // _COLUMNS_PER_ROW + 2 * sum(_ROW_DILATIONS)


class SpeechPast:
    """What the layers look back at, first layer first, each [B, its reach, C]; empty before a stream's first rows."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []

    def before(self, layer: int, x: Tensor, reach: int) -> Tensor:
        """A layer's input with what it looks back at; the input's end is kept for the next time."""
        if layer < len(self.inputs):
            x = torch.cat([self.inputs[layer], x], dim=1)
        self.inputs[layer : layer + 1] = [x[:, x.shape[1] - reach :].clone()]
        return x


class _Convolution(nn.Conv1d):
    """A convolution of [B, T, C] as one product over its taps: on a CPU a third of the time of a dilated one."""

    @property
    def reach(self) -> int:
        """Inputs before its own that an output looks at."""
        return 0 if self.stride[0] > 1 else self.dilation[0] * (self.kernel_size[0] - 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            taps = x.unflatten(1, (-1, self.stride[0])).flatten(2)
        else:
            count = x.shape[1] - self.reach
            taps = torch.cat([x[:, begin : begin + count] for begin in range(0, self.reach + 1, self.dilation[0])], dim=-1)
        return F.linear(taps, self.weight.transpose(1, 2).flatten(1), self.bias)


class _Layer(nn.Module):
    """Residual layer [B, T, C] -> [B, T - 2 dilation, C]: norm, dilated convolution of three, feed-forward."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = _Convolution(width, width, 3, dilation=dilation)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    @property
    def reach(self) -> int:
        """See `_Convolution`."""
        return self.conv.reach

    def forward(self, x: Tensor) -> Tensor:
        heard = self.conv(self.norm(x))
        # The convolution looks back: its first output belongs to the last of the columns that it has seen.
        return x[:, self.reach :] + self.down(F.gelu(self.up(heard)))


class SpeechEncoder(nn.Module):
    """Rows of log-mel columns to states of unit spread."""

    def __init__(self, mel_bins: int, width: int) -> None:
        super().__init__()
        self.mel_bins = mel_bins
        self.enter = _Convolution(mel_bins, width, _FIRST_KERNEL)
        self.columns = nn.Sequential(*(_Layer(width, dilation) for dilation in _COLUMN_DILATIONS))
        self.to_rows = _Convolution(width, width, _COLUMNS_PER_ROW, stride=_COLUMNS_PER_ROW)
        self.rows = nn.Sequential(*(_Layer(width, dilation) for dilation in _ROW_DILATIONS))
        self.norm = nn.LayerNorm(width)

    def forward(self, rows: Tensor, past: SpeechPast | None = None) -> Tensor:
        """Rows [B, CONTEXT_ROWS + n, columns * mel_bins] -> states [B, n, width]; raises ValueError for n < 1.

        past: of the same stream; once it is filled, n rows give n states.
        """
        if rows.shape[1] <= CONTEXT_ROWS and (past is None or not past.inputs):
            raise ValueError(f"{rows.shape[1]} rows give no state: each needs the {CONTEXT_ROWS} rows before its own")
        x = rows.unflatten(-1, (-1, self.mel_bins)).flatten(1, 2)
        for number, layer in enumerate((self.enter, *self.columns, self.to_rows, *self.rows)):
            x = layer(x if past is None else past.before(number, x, layer.reach))
        return self.norm(x)


def hold_by_tap(encoder: SpeechEncoder) -> SpeechEncoder:
    """Lay out convolution weights [out, in, taps] in memory as products want them; in place, same values, same shapes."""
    for module in encoder.modules():
        if isinstance(module, _Convolution):
            module.weight.data = module.weight.data.transpose(1, 2).contiguous().transpose(1, 2)
    return encoder
