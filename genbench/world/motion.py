"""Ground-truth motion of a nano-world character: what moves, when, and how far; not how it is drawn.

A `Truth` holds one value per frame for every moving part. Frame n is observed at its centre time
(n + 0.5) / fps, for motion and mouth alike. Angles are radians, shifts are fractions of the frame
width, everything else is a plain amount. Head angles are relative to the composition's own
pose; the profile composition shows only a fixed share of yaw (pose.PROFILE_YAW_GAIN).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

# Calm, as someone speaking to a camera: a small model spends itself on large head motion before it learns lips.
HEAD_BAND_HZ = (0.09, 0.45)
BODY_BAND_HZ = (0.06, 0.30)
BREATH_BAND_HZ = (0.22, 0.30)
NOD_BAND_HZ = (1.2, 2.2)
SINES_PER_TRACK = 7
BLINK_INTERVAL_S = (2.0, 5.0)
BLINK_CLOSE_S, BLINK_HOLD_S, BLINK_OPEN_S = 0.08, 0.05, 0.14
DOUBLE_BLINK_SHARE = 0.15
SACCADE_INTERVAL_S = (0.5, 2.4)


@dataclass(frozen=True)
class Truth:
    """Float32 tracks of one clip [F] or a batch of clips [B, F].

    mouth_open, mouth_wide, mouth_round, blink: 0..1; yaw, pitch (down is positive), roll: radians;
    shift_x, shift_y, body_sway, shoulder_lift: fractions of the frame width;
    gaze_x, gaze_y, brow: about -1..1.
    """

    mouth_open: Tensor
    mouth_wide: Tensor
    mouth_round: Tensor
    yaw: Tensor
    pitch: Tensor
    roll: Tensor
    shift_x: Tensor
    shift_y: Tensor
    body_sway: Tensor
    shoulder_lift: Tensor
    blink: Tensor
    gaze_x: Tensor
    gaze_y: Tensor
    brow: Tensor

    def __post_init__(self) -> None:
        shapes = {name: tuple(track.shape) for name, track in self.to_dict().items()}
        if len(set(shapes.values())) != 1:
            raise ValueError(f"Truth tracks differ in shape: {shapes}; give every track the same [F] or [B, F]")

    @property
    def frames(self) -> int:
        """Number of frames F."""
        return self.yaw.shape[-1]

    def to_dict(self) -> dict[str, Tensor]:
        """Tracks by name, sharing storage with this object."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, tracks: dict[str, Tensor]) -> Truth:
        """Inverse of `to_dict`; values become float32."""
        return cls(**{field.name: torch.as_tensor(tracks[field.name], dtype=torch.float32) for field in fields(cls)})

    def slice(self, start: int, stop: int) -> Truth:
        """Frames start..stop-1 of every track."""
        return Truth(**{name: track[..., start:stop] for name, track in self.to_dict().items()})

    def row(self, index: int) -> Truth:
        """One clip [F] of a batch [B, F]."""
        return Truth(**{name: track[index] for name, track in self.to_dict().items()})

    @staticmethod
    def stack(truths: Sequence[Truth]) -> Truth:
        """Batch [B, F] of clips [F] of equal length."""
        return Truth(**{name: torch.stack([getattr(t, name) for t in truths]) for name in truths[0].to_dict()})

    @staticmethod
    def still(frames: int) -> Truth:
        """A motionless clip [F]: looking ahead, eyes open, mouth closed."""
        return Truth(**{field.name: torch.zeros(frames) for field in fields(Truth)})


def sample_motion(generator: torch.Generator, frames: int, fps: float, speech_energy: Tensor | None = None) -> Truth:
    """A stationary random performance of `frames` frames with the mouth at rest.

    Head and body are sums of sines with random frequency and phase, so a track of any length keeps
    the same spread. `speech_energy` [F] in 0..1 adds small nods and brow raises where it is high.
    """
    time_s = frame_times_s(frames, fps)
    energy = torch.zeros_like(time_s) if speech_energy is None else speech_energy.double().clamp(0, 1)
    energy = _smooth(energy, max(1, round(0.25 * fps)))

    def sines(band_hz: tuple[float, float], spread: float) -> Tensor:
        return _sines(generator, time_s, band_hz) * spread

    tracks = {
        "yaw": sines(HEAD_BAND_HZ, 0.03),
        "pitch": sines(HEAD_BAND_HZ, 0.012) + energy * sines(NOD_BAND_HZ, 0.008),
        "roll": sines(HEAD_BAND_HZ, 0.01),
        "shift_x": sines(HEAD_BAND_HZ, 0.0025),
        "shift_y": sines(HEAD_BAND_HZ, 0.0015) + energy * sines(NOD_BAND_HZ, 0.0006),
        "body_sway": sines(BODY_BAND_HZ, 0.0025),
        "shoulder_lift": sines(BREATH_BAND_HZ, 0.002),
        "brow": sines(HEAD_BAND_HZ, 0.30) + energy * sines((0.4, 1.2), 0.35),
    }
    tracks["blink"] = _blinks(generator, time_s)
    tracks["gaze_x"], tracks["gaze_y"] = _gaze(generator, time_s)
    return replace(Truth.still(frames), **{name: track.float() for name, track in tracks.items()})


def with_mouth(truth: Truth, mouth_open: Tensor, mouth_wide: Tensor, mouth_round: Tensor) -> Truth:
    """The same performance speaking: mouth tracks (shape as the truth's) replaced."""
    return replace(truth, mouth_open=mouth_open.float(), mouth_wide=mouth_wide.float(), mouth_round=mouth_round.float())


def frame_times_s(frames: int, fps: float) -> Tensor:
    """Centre time of every frame [F], float64 seconds."""
    return (torch.arange(frames, dtype=torch.float64) + 0.5) / fps


def _uniform(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)


def _sines(generator: torch.Generator, time_s: Tensor, band_hz: tuple[float, float]) -> Tensor:
    """Unit-variance sum of sines [F], at most sqrt(2 * SINES_PER_TRACK) in absolute value."""
    # One frequency per equal slice of the log band: no two sines beat slowly against each other.
    low, high = math.log(band_hz[0]), math.log(band_hz[1])
    slices = torch.arange(SINES_PER_TRACK, dtype=torch.float64) + _uniform(generator, SINES_PER_TRACK, 0.2, 0.8)
    hz = torch.exp(low + (high - low) * slices / SINES_PER_TRACK)
    phase = _uniform(generator, SINES_PER_TRACK, 0, 2 * math.pi)
    waves = torch.sin(2 * math.pi * hz[:, None] * time_s + phase[:, None])
    return waves.sum(0) * math.sqrt(2 / SINES_PER_TRACK)


def _event_times(generator: torch.Generator, duration_s: float, interval_s: tuple[float, float]) -> Tensor:
    """Times of a renewal process that cover 0..duration_s; the first may be near 0."""
    count = int(duration_s / interval_s[0]) + 2
    gaps = _uniform(generator, count, *interval_s)
    times = gaps.cumsum(0) - _uniform(generator, 1, 0, 1) * gaps[0]
    return times[times < duration_s]


def _blinks(generator: torch.Generator, time_s: Tensor) -> Tensor:
    duration_s = float(time_s[-1]) if len(time_s) else 0.0
    times = _event_times(generator, duration_s, BLINK_INTERVAL_S)
    is_double = torch.rand(len(times), generator=generator, dtype=torch.float64) < DOUBLE_BLINK_SHARE
    times = torch.cat([times, times[is_double] + 0.32])
    closed = torch.zeros_like(time_s)
    for start_s in times.tolist():
        since = time_s - start_s
        closing = since / BLINK_CLOSE_S
        opening = (BLINK_CLOSE_S + BLINK_HOLD_S + BLINK_OPEN_S - since) / BLINK_OPEN_S
        ramp = torch.minimum(closing, opening).clamp(0, 1)
        closed = torch.maximum(closed, ramp * ramp * (3 - 2 * ramp))
    return closed


def _gaze(generator: torch.Generator, time_s: Tensor) -> tuple[Tensor, Tensor]:
    duration_s = float(time_s[-1]) if len(time_s) else 0.0
    times = _event_times(generator, duration_s, SACCADE_INTERVAL_S)
    targets = torch.randn(2, len(times) + 1, generator=generator, dtype=torch.float64) * torch.tensor([[0.45], [0.22]])
    # Half of the time a speaker looks straight at the camera.
    is_at_camera = torch.rand(len(times) + 1, generator=generator, dtype=torch.float64) < 0.5
    targets = torch.where(is_at_camera, targets * 0.1, targets).clamp(-1, 1)
    held = targets[:, torch.searchsorted(times, time_s)]
    return _smooth(held[0], 2), _smooth(held[1], 2)


def _smooth(track: Tensor, width: int) -> Tensor:
    """Symmetric triangular average of half-width `width` samples with held ends."""
    if width < 1 or len(track) == 0:
        return track
    kernel = width - torch.arange(-width, width + 1, dtype=torch.float64).abs() + 1
    padded = torch.cat([track[:1].expand(width), track, track[-1:].expand(width)])
    return torch.conv1d(padded[None, None], (kernel / kernel.sum())[None, None])[0, 0]
