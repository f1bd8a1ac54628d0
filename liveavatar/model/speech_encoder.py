"""The nano profile's small stand-in for wav2vec2: log-mel columns in, one state per video frame out.

Convolutions without padding, residual, at column rate and then at frame rate. A state depends on its own row of columns
and on `CONTEXT_ROWS` rows before it, never on more, so any piece of sound that holds these rows gives the same state.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

_FIRST_KERNEL = 5
_COLUMN_DILATIONS = (1, 2, 4, 1, 2, 4)
_ROW_DILATIONS = (1, 2)
_COLUMNS_PER_ROW = 4  # columns at 100 Hz, rows at 25 Hz
# Columns that the first layers use up, in rows, and rows that the last layers do.
CONTEXT_ROWS = (_FIRST_KERNEL - 1 + 2 * sum(_COLUMN_DILATIONS)) // _COLUMNS_PER_ROW + 2 * sum(_ROW_DILATIONS)


class _Layer(nn.Module):
    """Residual layer [B, C, T] -> [B, C, T - 2 dilation]: norm, dilated convolution of three, feed-forward."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, 3, dilation=dilation)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        heard = self.conv(self.norm(x.transpose(1, 2)).transpose(1, 2)).transpose(1, 2)
        # The convolution looks back: its first output belongs to the last of the columns that it has seen.
        return x[..., x.shape[-1] - heard.shape[1] :] + self.down(F.gelu(self.up(heard))).transpose(1, 2)


class SpeechEncoder(nn.Module):
    """Rows of log-mel columns to states of unit spread."""

    def __init__(self, mel_bins: int, width: int) -> None:
        super().__init__()
        self.mel_bins = mel_bins
        self.enter = nn.Conv1d(mel_bins, width, _FIRST_KERNEL)
        self.columns = nn.Sequential(*(_Layer(width, dilation) for dilation in _COLUMN_DILATIONS))
        self.to_rows = nn.Conv1d(width, width, _COLUMNS_PER_ROW, stride=_COLUMNS_PER_ROW)
        self.rows = nn.Sequential(*(_Layer(width, dilation) for dilation in _ROW_DILATIONS))
        self.norm = nn.LayerNorm(width)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows [B, CONTEXT_ROWS + n, columns * mel_bins] -> states [B, n, width]; raises ValueError for n < 1."""
        if rows.shape[1] <= CONTEXT_ROWS:
            raise ValueError(f"{rows.shape[1]} rows give no state: each needs the {CONTEXT_ROWS} rows before its own")
        columns = rows.unflatten(-1, (-1, self.mel_bins)).flatten(1, 2).transpose(1, 2)
        return self.norm(self.rows(self.to_rows(self.columns(self.enter(columns)))).transpose(1, 2))
