"""Voice features of the nano profile: log-mel columns at 100 Hz, four to a video-frame row.

Column t covers samples [160 t, 160 t + 400); row n holds columns 4 n .. 4 n + 3, so it needs samples up to
640 n + 880. Nothing here looks at a whole file: rows depend on their own samples only.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from liveavatar.config import AudioConfig

_FLOOR = 1e-6  # power below which a mel bin is silence; about -60 dB of full scale speech
_CENTRE, _SPREAD = -2.5, 1.6  # puts log10 powers of speech near zero mean and unit variance


@lru_cache(maxsize=4)
def _mel_filters(config: AudioConfig) -> Tensor:
    """Triangular filters [window/2 + 1, mel_bins], evenly spaced on the mel scale from 50 Hz to Nyquist."""
    bins = config.window_samples // 2 + 1
    frequencies = torch.linspace(0, config.sample_rate / 2, bins, dtype=torch.float64)
    mels = torch.linspace(_to_mel(50.0), _to_mel(config.sample_rate / 2), config.mel_bins + 2, dtype=torch.float64)
    edges = 700 * (10 ** (mels / 2595) - 1)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (frequencies[:, None] - low) / (centre - low)
    falling = (high - frequencies[:, None]) / (high - centre)
    filters = torch.minimum(rising, falling).clamp_min(0)
    # Narrow low filters may fall between two bins: give each at least its nearest bin.
    nearest = (frequencies[:, None] - centre).abs().argmin(0)
    filters[nearest, torch.arange(config.mel_bins)] = filters[nearest, torch.arange(config.mel_bins)].clamp_min(0.5)
    return filters.float()


def _to_mel(hertz: float) -> float:
    return 2595 * float(torch.log10(torch.tensor(1 + hertz / 700, dtype=torch.float64)))


def samples_for_rows(config: AudioConfig, rows: int, samples_per_frame: int) -> int:
    """Samples that `rows` rows need, counted from the first row's first sample."""
    return rows * samples_per_frame + config.window_samples - config.hop_samples


def voice_rows(samples: Tensor, config: AudioConfig, samples_per_frame: int) -> Tensor:
    """Samples [..., samples_for_rows(n)] in [-1, 1] -> rows [..., n, mel_bins * columns per frame], float32."""
    columns = samples.unfold(-1, config.window_samples, config.hop_samples)
    window = torch.hann_window(config.window_samples, dtype=torch.float32)
    power = torch.fft.rfft(columns * window).abs().square() / window.square().sum()
    levels = torch.log10(power @ _mel_filters(config) + _FLOOR)
    normed = (levels - _CENTRE) / _SPREAD
    return normed.unflatten(-2, (-1, samples_per_frame // config.hop_samples)).flatten(-2)
