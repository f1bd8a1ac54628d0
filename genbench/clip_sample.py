"""A sample of the nano world's in-domain set: a held-out clip drawn as training clips are, its first frame the reference."""

from __future__ import annotations

import numpy as np

from genbench.clips import AUDIO_LEAD_FRAMES, AUDIO_TAIL_FRAMES, make_clip
from genbench.providers.base import Picture, Utterance
from genbench.providers.nano_world import draw_character
from genbench.sample_truth import SampleTruth
from genbench.seeds import HELD_OUT_NAMESPACE
from genbench.spec import SampleSpec
from genbench.speech import Speech
from genbench.timeline import SAMPLES_PER_FRAME


def make_clip_sample(spec: SampleSpec) -> tuple[Picture, Utterance, SampleTruth]:
    """Picture, voice and truth of the clip that the spec names."""
    from genbench.world import Truth, face_box, mouth_box

    if spec.clip is None:
        raise ValueError(f"sample {spec.id} is no clip; draw it in the set 'in_domain'")
    seed, index, frames = spec.clip
    clip = make_clip(seed, index, frames, HELD_OUT_NAMESPACE, (spec.style, spec.composition))
    heard = clip.audio[AUDIO_LEAD_FRAMES * SAMPLES_PER_FRAME : len(clip.audio) - AUDIO_TAIL_FRAMES * SAMPLES_PER_FRAME]
    batch = Truth.stack([clip.truth])
    truth = SampleTruth(
        character=clip.character,
        truth=clip.truth,
        face_box=face_box([clip.character], batch)[0].float(),
        mouth_box=mouth_box([clip.character], batch)[0].float(),
        phonemes=clip.phonemes,
        words=clip.words,
    )
    # Exactly the clip's int16 samples again: the WAV is written from them divided by the same number.
    speech = Speech(heard.astype(np.float32) / 32767, clip.phonemes, clip.words)
    picture = draw_character(clip.character, Truth.stack([clip.truth.slice(0, 1)]))
    return picture, Utterance(speech, " ".join(word for word, _, _ in clip.words)), truth
