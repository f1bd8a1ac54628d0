"""How a nano-world character performs a speech: the truth behind a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genbench.sample_truth import SampleTruth
from genbench.speech import Speech
from genbench.timeline import FPS, SAMPLES_PER_FRAME, frame_energy

if TYPE_CHECKING:
    from genbench.world import Character


def make_truth(character: Character, seed: int, speech: Speech) -> SampleTruth:
    """Motion drawn from the seed, the mouth from the phonemes, boxes from both."""
    import torch

    from genbench.world import Truth, face_box, mouth_box, mouth_from_phonemes, sample_motion, with_mouth

    frames = len(speech.samples) // SAMPLES_PER_FRAME
    generator = torch.Generator().manual_seed(seed)
    motion = sample_motion(generator, frames, FPS, frame_energy(speech.samples, frames))
    truth = with_mouth(motion, *mouth_from_phonemes(speech.phonemes, frames, FPS))
    batch = Truth.stack([truth])
    return SampleTruth(
        character=character,
        truth=truth,
        face_box=face_box([character], batch)[0].float(),
        mouth_box=mouth_box([character], batch)[0].float(),
        phonemes=speech.phonemes,
        words=speech.words,
    )
