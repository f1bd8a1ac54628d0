"""Speech features at 50 Hz to one row per video frame, the way the official S2V code does it.

Two hops: to an intermediate 30 Hz grid by interpolation, whatever the playback rate, then to frames by the nearest row.
Whole files go through `bucket`; `stream_rows` gives the same rows of a file without end, from any window of its states.
The nano front end makes rows at playback rate at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FEATURE_RATE_HZ = 50  # wav2vec2: one state per 320 samples of 16 kHz
GRID_RATE_HZ = 30


def to_grid_rate(states: Tensor) -> Tensor:
    """States [layers, T50, C] -> [layers, int(T50 * 30 / 50), C], linear in time, first and last row kept."""
    rows = int(states.shape[1] / FEATURE_RATE_HZ * GRID_RATE_HZ)
    return F.interpolate(states.transpose(1, 2), size=rows, mode="linear", align_corners=True).transpose(1, 2)


def clip_count(grid_rows: int, clip_frames: int, fps: float) -> int:
    """Clips that cover the audio: always one more than are full, so a voice that ends with a clip gets a silent one."""
    return int(grid_rows / (clip_frames * GRID_RATE_HZ / fps)) + 1


def frame_rows(grid: Tensor, frames: int, fps: float, radius: int = 0) -> Tensor:
    """Grid rows [layers, T30, C] -> rows [frames, layers, C * (2 radius + 1)] of video frames 0..frames-1.

    Frame i takes row round(i * 30 / fps), halves to the even one; with a radius, also its neighbours int(30 / fps) rows
    apart, earliest first, clamped to the ends. Frames beyond the last row are zeros.
    """
    last = grid.shape[1] - 1
    # torch.round rounds halves to even.
    centres = torch.round(torch.arange(frames, dtype=torch.float64) * GRID_RATE_HZ / fps).long()
    reach = torch.arange(-radius, radius + 1) * int(GRID_RATE_HZ / fps)
    rows = (centres[:, None] + reach).clamp(0, last).to(grid.device)
    taken = grid[:, rows]  # [layers, frames, 2 radius + 1, C]
    taken = torch.where((centres > last)[:, None, None].to(grid.device), 0, taken)
    return taken.flatten(2).transpose(0, 1)


def bucket(states: Tensor, clip_frames: int, fps: float, radius: int = 0) -> tuple[Tensor, int]:
    """States [layers, T50, C] -> model input [1, layers, C * (2 radius + 1), frames] and the number of clips.

    frames = clips * clip_frames. Raises ValueError for too few states to interpolate.
    """
    if states.dim() != 3 or states.shape[1] < 2:
        raise ValueError(f"states {tuple(states.shape)}: give [layers, states at 50 Hz, channels] with 2 states or more")
    grid = to_grid_rate(states)
    clips = clip_count(grid.shape[1], clip_frames, fps)
    rows = frame_rows(grid, clips * clip_frames, fps, radius)
    return rows.permute(1, 2, 0).unsqueeze(0), clips


def stream_rows(states: Tensor, first_state: int, frames: range, fps: float) -> Tensor:
    """Rows [len(frames), layers, C] of video frames of a stream, from a window of its states [layers, n, C].

    first_state: number of the window's first state, counted from the stream's start. As `to_grid_rate` and `frame_rows`
    do for a file without end: there the 30 Hz grid is exact, so a frame's row does not depend on the sound's length.
    Raises ValueError when the window does not hold what a frame needs.
    """
    grid = torch.round(torch.arange(frames.start, frames.stop, dtype=torch.float64) * GRID_RATE_HZ / fps)
    places = grid * FEATURE_RATE_HZ / GRID_RATE_HZ - first_state
    below = places.floor().long()
    if len(frames) and (below[0] < 0 or below[-1] + 1 >= states.shape[1]):
        raise ValueError(
            f"frames {frames.start}..{frames.stop - 1} need states {first_state + int(below[0])}.."
            f"{first_state + int(below[-1]) + 1}; the window holds {first_state}..{first_state + states.shape[1] - 1}"
        )
    weight = (places - below).to(states.device, states.dtype)[:, None]
    below = below.to(states.device)
    return torch.lerp(states[:, below], states[:, below + 1], weight).transpose(0, 1)
