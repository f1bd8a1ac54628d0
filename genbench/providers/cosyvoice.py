"""Speech by CosyVoice in its own checkout and Python: a worker process, one job at a time, with a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genbench.composition import UNSTATED
from genbench.errors import ProviderError, SampleRefusedError
from genbench.providers.base import SpeechProvider, Utterance
from genbench.sound import int16_wav, read_recording, resampled, whole_blocks
from genbench.spec import SampleSpec
from genbench.speech import SAMPLE_RATE_HZ, Speech

WORKER = Path(__file__).with_name("cosyvoice_worker.py")
PAUSE_S = 0.25
_GROUP_CHARACTERS = 120  # much shorter texts than the prompt clip's sound worse
_MOST_PROMPT_S = 30.0
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*")
INSTRUCTIONS = {
    "happy": "Please speak in a happy tone.", "sad": "Please speak in a sad tone.",
    "excited": "Please speak in an excited, lively tone.", "serious": "Please speak in a serious tone.",
    "surprised": "Please speak in a surprised tone.",
}  # fmt: skip


@dataclass(frozen=True)
class PromptVoice:
    """A voice to clone: a clip of at most 30 s, what is said in it, and whose consent and licence it comes with."""

    name: str
    prompt_wav: str
    prompt_text: str
    gender: str = UNSTATED
    licence: str = ""


class CosyVoice(SpeechProvider):
    """checkout: the source folder; interpreter: its Python; model_dir: the weights; voices: prompt clips, at least one.

    instructions: what is asked of the voice, by emotion (versions 2 and 3). time_limit_s: of one piece of text.
    """

    name = "cosyvoice"
    purpose = "speech by CosyVoice 1 to 3 (options: checkout, interpreter, model_dir, voices)"
    needs = "a CosyVoice checkout with its own Python, weights, and voices you may use"
    is_personal = True

    def __init__(
        self,
        checkout: str,
        interpreter: str,
        model_dir: str,
        voices: list[dict[str, str]],
        instructions: dict[str, str] | None = None,
        start_limit_s: float = 600.0,
        time_limit_s: float = 300.0,
    ) -> None:
        self.checkout, self.interpreter, self.model_dir = checkout, interpreter, model_dir
        self.voices = [PromptVoice(**voice) for voice in voices]
        self.instructions = INSTRUCTIONS | (instructions or {})
        self.start_limit_s, self.time_limit_s = start_limit_s, time_limit_s
        self._worker: _Worker | None = None
        if not self.voices:
            raise ValueError("cosyvoice needs at least one voice: {name, prompt_wav, prompt_text, gender}")
        for path, what in ((checkout, "checkout"), (interpreter, "interpreter"), (model_dir, "model_dir")):
            if not Path(path).exists():
                raise ValueError(f"{what} {path} does not exist")
        for voice in self.voices:
            length_s = len(read_recording(Path(voice.prompt_wav))[0]) / SAMPLE_RATE_HZ
            if length_s > _MOST_PROMPT_S or not voice.prompt_text.strip():
                raise ValueError(
                    f"voice {voice.name}: its clip has {length_s:.1f} s, at most {_MOST_PROMPT_S:g} are read, and "
                    "prompt_text must say what is spoken in it"
                )

    def describe(self) -> dict[str, Any]:
        facts = self._started().facts
        voices = [{"name": voice.name, "gender": voice.gender, "licence": voice.licence} for voice in self.voices]
        model = {"model": Path(self.model_dir).name, "class": facts["class"], "commit": facts["commit"]}
        return {"name": self.name, **model, "sample_rate": facts["sample_rate"], "voices": voices}

    def licence(self) -> str:
        named = sorted({voice.licence for voice in self.voices if voice.licence})
        return (
            f"made by CosyVoice (academic use, its README says) from voices under: {', '.join(named) or 'no stated licence'}"
        )

    def speak(self, spec: SampleSpec) -> Utterance:
        """Groups of sentences, one after the other, up to the group whose end is nearest to the target."""
        sentences = [part for part in _SENTENCE_END.split(spec.text.strip()) if re.search(r"\w", part)]
        if not sentences:
            raise ValueError(f"sample {spec.id} has an empty script; give it some words to speak")
        voice = self._voice(spec)
        rate = self._started().facts["sample_rate"]
        pieces: list[np.ndarray] = []
        said: list[str] = []
        total_s = 0.0
        for number, text in enumerate(_groups(sentences)):
            piece = self._spoken(spec, voice, text, number)
            length_s = len(piece) / rate + (PAUSE_S if pieces else 0.0)
            if pieces and abs(total_s - spec.duration_s) <= abs(total_s + length_s - spec.duration_s):
                break
            pieces += [np.zeros(round(PAUSE_S * rate), np.int16)] * bool(pieces) + [piece]
            said.append(text)
            total_s += length_s
            if total_s >= spec.duration_s:
                break
        native = np.concatenate(pieces)
        samples = whole_blocks(resampled(native.astype(np.float32) / 32768, rate))
        return Utterance(Speech(samples, []), " ".join(said), {"speech_native.wav": int16_wav(native, rate)})

    def close(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def _voice(self, spec: SampleSpec) -> PromptVoice:
        fitting = [voice for voice in self.voices if spec.gender in (UNSTATED, voice.gender)] or self.voices
        return fitting[spec.seed % len(fitting)]

    def _spoken(self, spec: SampleSpec, voice: PromptVoice, text: str, number: int) -> np.ndarray:
        with tempfile.TemporaryDirectory(prefix="genbench-") as folder:
            out = str(Path(folder) / "speech.wav")
            job = {
                "id": f"{spec.id}.{number}",
                "text": text,
                "prompt_wav": str(Path(voice.prompt_wav).resolve()),
                "prompt_text": voice.prompt_text,
                "instruction": self.instructions.get(spec.emotion, ""),
                # Its rules know Chinese and English only and spoil other languages.
                "text_frontend": spec.language[:2] in ("zh", "en"),
                "seed": (spec.seed + number) % 2**31,
                "out": out,
            }
            try:
                answer = self._started().answer(job, self.time_limit_s)
            except TimeoutError as error:
                self.close()
                raise SampleRefusedError(f"CosyVoice did not finish within {self.time_limit_s:g} s") from error
            if "error" in answer:
                raise SampleRefusedError(f"CosyVoice failed: {answer['error']}")
            import wave

            with wave.open(out, "rb") as file:
                samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
                if file.getframerate() != self._started().facts["sample_rate"]:
                    raise ProviderError(f"CosyVoice wrote {file.getframerate()} Hz, its model has {answer['rate']} Hz")
        return samples

    def _started(self) -> _Worker:
        if self._worker is None or self._worker.is_dead:
            setup = {"checkout": str(Path(self.checkout).resolve()), "model_dir": str(Path(self.model_dir).resolve())}
            self._worker = _Worker(self.interpreter, setup, self.start_limit_s)
        return self._worker


class _Worker:
    """The worker process and its lines."""

    def __init__(self, interpreter: str, setup: dict[str, str], limit_s: float) -> None:
        self._process = subprocess.Popen(
            [interpreter, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=setup["checkout"],
            # Another Python with other packages: ours must not be found by it.
            env={name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")},
            start_new_session=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self.facts = self._exchange(setup, limit_s)
        except TimeoutError as error:
            self.kill()
            raise ProviderError(f"CosyVoice was not loaded within {limit_s:g} s; raise start_limit_s") from error
        if not self.facts["ready"]:
            self.kill()
            raise ProviderError(f"CosyVoice cannot be loaded: {self.facts['error']}")

    @property
    def is_dead(self) -> bool:
        return self._process.poll() is not None

    def answer(self, job: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """The worker's line about a job. Raises TimeoutError, or ProviderError where the worker is gone."""
        record = self._exchange(job, limit_s)
        if record.get("id") != job["id"]:
            raise ProviderError(f"CosyVoice's worker answered {record.get('id')!r} to {job['id']!r}")
        return record

    def kill(self) -> None:
        """End the process and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError, AttributeError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _exchange(self, record: dict[str, Any], limit_s: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(record) + "\n")
            self._process.stdin.flush()
            line = self._lines.get(timeout=limit_s)
        except queue.Empty as error:
            raise TimeoutError from error
        except OSError:
            line = ""
        if not line:
            # Its pipe ends a moment before the process is gone: nobody may give it another job in between.
            self.kill()
            raise ProviderError(f"CosyVoice's worker ended (exit code {self._process.poll()}); its words stand above")
        return json.loads(line)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError):
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put("")


def _groups(sentences: list[str]) -> list[str]:
    """Sentences joined while they stay under a length."""
    groups: list[str] = []
    for sentence in sentences:
        if groups and len(groups[-1]) + len(sentence) < _GROUP_CHARACTERS:
            groups[-1] += f" {sentence}"
        else:
            groups.append(sentence)
    return groups
