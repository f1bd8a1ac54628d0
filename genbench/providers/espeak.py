"""Speech by espeak-ng: whole sentences near the wanted length, with known phoneme times."""

from __future__ import annotations

from typing import Any

from genbench.providers.base import SpeechProvider, Utterance
from genbench.spec import SampleSpec
from genbench.speech import library_version, synthesise
from genbench.timeline import run_of_sentences


class Espeak(SpeechProvider):
    """The run of whole sentences of the script whose length is nearest to the target."""

    name = "espeak"
    purpose = "synthetic English speech whose phoneme times are known"
    needs = "pip install 'live-avatar[speech]' (espeak-ng, GPL-3)"
    in_processes = True

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "espeak-ng": library_version()}

    def licence(self) -> str:
        return "CC0-1.0 (spoken by espeak-ng, GPL-3.0 software; its licence covers the program, not the speech it makes)"

    def speak(self, spec: SampleSpec) -> Utterance:
        if not spec.text.strip():
            raise ValueError(f"sample {spec.id} has an empty script; give it some words to speak")
        if spec.language != "en":
            raise ValueError(f"sample {spec.id} is in {spec.language!r}; espeak is set up for English ('en') only")
        speech = run_of_sentences(synthesise(spec.text, spec.voice), spec.duration_s)
        return Utterance(speech, " ".join(sentence for sentence, _, _ in speech.sentences))
