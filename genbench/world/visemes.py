"""From timed phonemes to mouth tracks: the only place that knows what a sound looks like.

Phonemes are espeak-ng mnemonics ('A:', 'oU', 'S', '_:') or IPA symbols; both are read unit by unit,
so a diphthong is two targets in sequence. No audio is involved.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TRACK_RATE_HZ = 200
COARTICULATION_S = 0.070
MIN_CLOSURE_S = 0.080
STRESS_MARKS = "',%=ˈˌ\"!"

_GROUPS: dict[tuple[float, float, float], str] = {
    # (open, wide, round): units, separated by blanks
    (1.00, 0.45, 0.00): "a A A: a: a# aa ɑ ɑː aː æ ɐ 0 ɒ",
    (0.80, 0.30, 0.05): "V ʌ 3 3: ɜ ɜː ɝ @L ɚ",
    (0.70, 0.75, 0.00): "E ɛ E: ɛː e e: eː",
    (0.85, 0.05, 0.75): "O O: ɔ ɔː",
    (0.65, 0.00, 0.95): "o o: oː ɵ",
    (0.38, 0.00, 1.00): "u u: U uː ʊ y y: Y yː",
    (0.40, 1.00, 0.00): "i i: iː",
    (0.45, 0.80, 0.00): "I I2 I# ɪ ɨ",
    (0.50, 0.35, 0.10): "@ @2 @5 ə ɘ",
    (0.00, 0.15, 0.00): "m b p",
    (0.07, 0.35, 0.00): "f v",
    (0.20, 0.00, 1.00): "w W ʍ",
    (0.22, 0.10, 0.75): "S Z tS dZ ʃ ʒ tʃ dʒ ʧ ʤ",
    (0.16, 0.80, 0.00): "s z ts dz",
    (0.26, 0.45, 0.00): "T D θ ð",
    (0.28, 0.50, 0.00): "t d n l n- l- ɫ t# ɾ * t2 d2 L",
    (0.30, 0.20, 0.45): "r R ɹ r- ʁ ʀ",
    (0.34, 0.40, 0.05): "k g ɡ N ŋ x C ç ɣ ?",
    (0.40, 0.40, 0.10): "h H ɦ",
    (0.32, 0.85, 0.00): "j ; J ɲ",
}
_TARGETS = {unit: target for target, units in _GROUPS.items() for unit in units.split()}
_LONGEST_UNIT = max(map(len, _TARGETS))
_BILABIALS = frozenset("mbp")
_SILENCE = (0.0, 0.25, 0.0)
_UNKNOWN = (0.35, 0.35, 0.1)


def mouth_from_phonemes(
    phonemes: Sequence[tuple[str, float, float]], frames: int, fps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Mouth tracks (open, wide, round), each float32 [frames] in 0..1, seen at frame centres.

    `phonemes` are (symbol, start seconds, end seconds) in time order. Piecewise-constant targets at
    TRACK_RATE_HZ are smoothed by a symmetric window of COARTICULATION_S; bilabials then shut the
    mouth for at least MIN_CLOSURE_S, however short they are, so that some frame always shows it.
    """
    samples = round(frames / fps * TRACK_RATE_HZ) + 2
    time_s = (torch.arange(samples, dtype=torch.float64) + 0.5) / TRACK_RATE_HZ
    segments = _segments(phonemes)
    tracks = _smooth(_hold_targets(segments, time_s))
    shut = _smooth(_closure(phonemes, time_s)[None])[0]
    tracks[0] *= 1 - (1.5 * shut).clamp(0, 1)
    # Fast speech never dwells on a target: undo what the smoothing took from the range.
    tracks[0] = (1.12 * tracks[0]).clamp(0, 1)
    position = ((torch.arange(frames, dtype=torch.float64) + 0.5) / fps * TRACK_RATE_HZ - 0.5).clamp(0, samples - 1)
    low = position.floor().long().clamp(max=samples - 2)
    seen = torch.lerp(tracks[:, low], tracks[:, low + 1], (position - low).expand(3, -1))
    opened, widened, rounded = seen.clamp(0, 1).float().unbind(0)
    return opened, widened, rounded


def viseme_targets(phoneme: str) -> list[tuple[float, float, float]]:
    """Mouth targets (open, wide, round) that one phoneme passes through, in order."""
    symbol = phoneme.strip().strip(STRESS_MARKS)
    if not symbol or symbol.startswith(("_", "(", "|", " ")):
        return [_SILENCE]
    targets, position = [], 0
    while position < len(symbol):
        for length in range(min(_LONGEST_UNIT, len(symbol) - position), 0, -1):
            unit = symbol[position : position + length]
            if unit in _TARGETS:
                targets.append(_TARGETS[unit])
                break
        position += length
    return targets or [_UNKNOWN]


def _segments(phonemes: Sequence[tuple[str, float, float]]) -> list[tuple[float, float, tuple[float, float, float]]]:
    """(start s, end s, target): phonemes with several targets share their time equally."""
    segments = []
    for symbol, start_s, end_s in phonemes:
        targets = viseme_targets(symbol)
        step_s = (end_s - start_s) / len(targets)
        segments += [(start_s + i * step_s, start_s + (i + 1) * step_s, target) for i, target in enumerate(targets)]
    return segments


def _hold_targets(segments: list[tuple[float, float, tuple[float, float, float]]], time_s: Tensor) -> Tensor:
    """Piecewise-constant targets [3, samples]; silence between segments."""
    silence = torch.tensor(_SILENCE, dtype=torch.float64)[:, None]
    if not segments:
        return silence.repeat(1, len(time_s))
    starts = torch.tensor([s[0] for s in segments], dtype=torch.float64)
    ends = torch.tensor([s[1] for s in segments], dtype=torch.float64)
    targets = torch.tensor([s[2] for s in segments], dtype=torch.float64).T
    index = torch.searchsorted(starts, time_s, right=True) - 1
    is_inside = (index >= 0) & (time_s < ends[index.clamp(min=0)])
    return torch.where(is_inside, targets[:, index.clamp(min=0)], silence)


def _closure(phonemes: Sequence[tuple[str, float, float]], time_s: Tensor) -> Tensor:
    """1 while a bilabial, lengthened to MIN_CLOSURE_S about its middle, presses the lips together."""
    spans = [(s, e) for symbol, s, e in phonemes if symbol.strip().strip(STRESS_MARKS)[:1] in _BILABIALS]
    if not spans:
        return torch.zeros_like(time_s)
    span = torch.tensor(spans, dtype=torch.float64)
    middle, half = span.mean(1), ((span[:, 1] - span[:, 0]) / 2).clamp(min=MIN_CLOSURE_S / 2)
    # Nearest closure in time order decides; closures are short against the syllables between them.
    index = torch.searchsorted(middle, time_s).clamp(max=len(middle) - 1)
    is_shut = torch.zeros_like(time_s, dtype=torch.bool)
    for candidate in (index, (index - 1).clamp(min=0)):
        is_shut |= (time_s - middle[candidate]).abs() <= half[candidate]
    return is_shut.double()


def _smooth(tracks: Tensor) -> Tensor:
    """Tracks [C, samples] under a normalised Hann window of COARTICULATION_S, ends held."""
    half = round(COARTICULATION_S * TRACK_RATE_HZ / 2)
    kernel = torch.hann_window(2 * half + 3, periodic=False, dtype=torch.float64)[1:-1]
    padded = torch.nn.functional.pad(tracks[:, None], (half, half), mode="replicate")
    return torch.conv1d(padded, (kernel / kernel.sum())[None, None])[:, 0]
