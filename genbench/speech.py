"""Speech with known phoneme times: a small binding of the espeak-ng library, loaded when first used.

The library is GPL-3 software and is not part of this package: it comes from the optional extra `genbench[speech]`
(the pip package `espeakng-loader`, which ships the shared library and its voices for the common platforms).

Same text and voice give the same samples, always. espeak-ng carries hidden state from one utterance to the next (the
phase of its oscillators is never reset), so each sentence is spoken by a freshly loaded copy of the library, which
costs half a millisecond. (Where a library cannot be unloaded, or where the program itself uses the very same library
file elsewhere, repeated calls may differ by a few samples.) Sentences are joined at the library's own rate and
resampled once: phoneme times stay exact however long the text is.
"""

from __future__ import annotations

import _ctypes
import ctypes
import hashlib
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genbench.errors import SpeechError

SAMPLE_RATE_HZ = 16_000
PAUSE = "_"
RATE_RANGE_WPM = (80, 400)
SENTENCE_PAUSE_S = (0.06, 0.32)
INSTALL_HINT = "pip install 'genbench[speech]' (or: pip install espeakng-loader scipy)"

LANGUAGES = {
    # our name -> name inside the library, which has no voice of the name "en-gb"
    "en-us": "en-us",
    "en-us-nyc": "en-us-nyc",
    "en-gb": "en",
    "en-gb-x-rp": "en-gb-x-rp",
    "en-gb-x-gbclan": "en-gb-x-gbclan",
    "en-gb-x-gbcwmd": "en-gb-x-gbcwmd",
    "en-gb-scotland": "en-gb-scotland",
    "en-029": "en-029",
}

_NATIVE_RATE_HZ = 22_050
_NOISE_SEED = 1
_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT
_PHONEME_EVENTS = 0x0001
_DONT_EXIT = 0x8000  # report a missing data folder instead of ending the process
_CHARS_UTF8 = 1
_POSITION_CHARACTER = 1
_PARAMETER_RATE, _PARAMETER_VOLUME, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 2, 3, 4
_EVENT_END, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7
_STRESS_MARKS = "',%=|"
_LOCK = threading.Lock()

TimedLabel = tuple[str, float, float]


@dataclass(frozen=True)
class Voice:
    """Accent and speaker, e.g. `Voice("en-gb-scotland+f2", rate_wpm=160)`; pitch and range run from 0 to 99."""

    language_variant: str = "en-us"
    rate_wpm: int = 165
    pitch: int = 50
    pitch_range: int = 50

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            raise ValueError(f"voice {self.language_variant!r} has the language {self.language!r}; "
                             f"choose one of {', '.join(LANGUAGES)}, with an optional +variant such as +f3")
        if not RATE_RANGE_WPM[0] <= self.rate_wpm <= RATE_RANGE_WPM[1]:
            raise ValueError(f"rate_wpm={self.rate_wpm}; choose {RATE_RANGE_WPM[0]} to {RATE_RANGE_WPM[1]} words per minute")
        for name in ("pitch", "pitch_range"):
            if not 0 <= getattr(self, name) <= 99:
                raise ValueError(f"{name}={getattr(self, name)}; choose 0 to 99")

    @property
    def language(self) -> str:
        return self.language_variant.partition("+")[0]

    @property
    def variant(self) -> str:
        return self.language_variant.partition("+")[2]


VOICES: tuple[Voice, ...] = (
    Voice("en-us", 165, 48, 50),
    Voice("en-us+f3", 172, 55, 55),
    Voice("en-us+m3", 158, 42, 48),
    Voice("en-us+f2", 160, 50, 60),
    Voice("en-us-nyc+m7", 176, 45, 55),
    Voice("en-us-nyc+f4", 168, 58, 52),
    Voice("en-gb", 162, 46, 45),
    Voice("en-gb+f4", 170, 54, 58),
    Voice("en-gb+m2", 155, 40, 42),
    Voice("en-gb-x-rp+f1", 164, 52, 50),
    Voice("en-gb-x-rp+m4", 160, 44, 46),
    Voice("en-gb-x-gbclan+m1", 168, 47, 52),
    Voice("en-gb-x-gbcwmd+f5", 166, 56, 54),
    Voice("en-gb-scotland+m5", 158, 45, 55),
    Voice("en-gb-scotland+f2", 163, 57, 56),
    Voice("en-029+m6", 170, 50, 60),
)


@dataclass(frozen=True)
class Speech:
    """Mono samples at 16 kHz in [-1, 1] and what is said when; phonemes touch each other and cover all samples.

    `words` and `sentences` are timed in the same way but leave the pauses out.
    """

    samples: np.ndarray
    phonemes: list[TimedLabel]
    words: list[TimedLabel] = field(default_factory=list)
    sentences: list[TimedLabel] = field(default_factory=list)
    sample_rate_hz: int = SAMPLE_RATE_HZ

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate_hz


def synthesise(text: str, voice: Voice | None = None) -> Speech:
    """Speak `text`; deterministic, and the pauses between sentences are part of the phonemes (as "_").

    Phoneme names are espeak's mnemonics without stress marks, e.g. `h @ l oU _`.
    """
    voice = voice or Voice()
    sentences = split_sentences(text)
    if not sentences:
        raise ValueError(f"the text {text!r} holds no sentence to speak; give some words")
    library_path, data_path = _locate_library()
    _check_variant(voice, data_path)
    with _LOCK:
        parts = [_speak_sentence(sentence, voice, library_path, data_path) for sentence in sentences]
    return _join(parts, sentences)


def split_sentences(text: str) -> list[str]:
    """Cut after full stops, question and exclamation marks."""
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if re.search(r"\w", part)]


def library_version() -> str:
    """Version text of the espeak-ng library in use, e.g. "1.52.0"."""
    library_path, _ = _locate_library()
    with _LOCK:
        library = ctypes.CDLL(library_path)
        library.espeak_Info.restype = ctypes.c_char_p
        version = library.espeak_Info(None).decode().split()[0]
        _unload(library)
    return version


@dataclass
class _Spoken:
    """One sentence at the native rate: int16 samples, phoneme starts and word starts in samples."""

    samples: np.ndarray
    phonemes: list[tuple[str, int]]
    words: list[tuple[str, int]]


class _EventId(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def _locate_library() -> tuple[str, str]:
    try:
        import espeakng_loader
    except ImportError as error:
        raise ModuleNotFoundError(f"speech needs the espeak-ng library; install it with: {INSTALL_HINT}") from error
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


def _check_variant(voice: Voice, data_path: str) -> None:
    # The library silently speaks with its default timbre when a variant does not exist.
    folder = Path(data_path) / "voices" / "!v"
    if voice.variant and not (folder / voice.variant).is_file():
        known = ", ".join(sorted(path.name for path in folder.iterdir()))
        raise ValueError(f"voice {voice.language_variant!r} has an unknown variant {voice.variant!r}; "
                         f"choose one of: {known}")


def _unload(library: ctypes.CDLL) -> None:
    name = "dlclose" if hasattr(_ctypes, "dlclose") else "FreeLibrary"  # the latter on Windows
    getattr(_ctypes, name)(library._handle)


def _speak_sentence(sentence: str, voice: Voice, library_path: str, data_path: str) -> _Spoken:
    library = ctypes.CDLL(library_path)
    try:
        rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, data_path.encode(), _PHONEME_EVENTS | _DONT_EXIT)
        if rate_hz != _NATIVE_RATE_HZ:
            raise SpeechError(f"espeak-ng answered {rate_hz} at start, expected {_NATIVE_RATE_HZ} Hz; "
                               f"its voices in {data_path} may be damaged: {INSTALL_HINT}")
        library.espeak_ng_SetRandSeed(ctypes.c_long(_NOISE_SEED))  # breathy voices use noise, seeded by the clock
        _apply_voice(library, voice)
        return _collect(library, sentence)
    finally:
        library.espeak_Terminate()
        _unload(library)


def _apply_voice(library: ctypes.CDLL, voice: Voice) -> None:
    name = LANGUAGES[voice.language] + (f"+{voice.variant}" if voice.variant else "")
    if library.espeak_SetVoiceByName(name.encode()) != 0:
        raise SpeechError(f"espeak-ng has no voice {name!r}; reinstall its data: {INSTALL_HINT}")
    values = {
        _PARAMETER_RATE: voice.rate_wpm,
        _PARAMETER_VOLUME: 100,
        _PARAMETER_PITCH: voice.pitch,
        _PARAMETER_RANGE: voice.pitch_range,
    }
    for parameter, value in values.items():
        library.espeak_SetParameter(parameter, value, 0)


def _collect(library: ctypes.CDLL, sentence: str) -> _Spoken:
    pieces: list[bytes] = []
    phonemes: list[tuple[str, int]] = []
    words: list[tuple[str, int]] = []

    def receive(samples: Any, count: int, events: Any) -> int:  # ctypes pointers
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while events[index].type != _EVENT_END:
            event = events[index]
            if event.type == _EVENT_PHONEME:
                phonemes.append((_plain_mnemonic(event.id.string), event.sample))
            elif event.type == _EVENT_WORD:
                start = event.text_position - 1
                words.append((sentence[start : start + event.length], event.sample))
            index += 1
        return 0

    callback = _Callback(receive)  # held in a local until the synchronous call returns
    library.espeak_SetSynthCallback(callback)
    data = sentence.encode()
    status = library.espeak_Synth(
        data, ctypes.c_size_t(len(data) + 1), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None
    )
    if status != 0 or not pieces:
        raise SpeechError(f"espeak-ng could not speak {sentence!r} (status {status}); simplify the sentence")
    return _Spoken(np.frombuffer(b"".join(pieces), dtype="<i2"), phonemes, words)


def _plain_mnemonic(raw: bytes) -> str:
    name = raw.decode("ascii", "replace").strip(_STRESS_MARKS)
    return PAUSE if not name or name.startswith("_") else name


def _pause_samples(sentence: str) -> int:
    """A pause after the sentence that varies with its text, as a reader's would."""
    fraction = hashlib.sha256(sentence.encode()).digest()[0] / 255
    low, high = SENTENCE_PAUSE_S
    return round((low + fraction * (high - low)) * _NATIVE_RATE_HZ)


def _join(parts: list[_Spoken], sentences: list[str]) -> Speech:
    pieces: list[np.ndarray] = []
    phonemes: list[tuple[str, int]] = [(PAUSE, 0)]
    words: list[tuple[str, int]] = []
    spoken: list[TimedLabel] = []
    position = 0
    for part, sentence in zip(parts, sentences, strict=True):
        phonemes += [(name, position + start) for name, start in part.phonemes]
        words += [(word, position + start) for word, start in part.words]
        pieces.append(part.samples)
        start, position = position, position + len(part.samples)
        spoken.append((sentence, start / _NATIVE_RATE_HZ, position / _NATIVE_RATE_HZ))
        pause = 0 if sentence is sentences[-1] else _pause_samples(sentence)
        phonemes.append((PAUSE, position))
        pieces.append(np.zeros(pause, dtype="<i2"))
        position += pause
    samples = _to_16k(np.concatenate(pieces))
    end_s = len(samples) / SAMPLE_RATE_HZ
    return Speech(samples, _intervals(phonemes, end_s, merge=True), _word_intervals(words, phonemes, end_s), spoken)


def _intervals(starts: list[tuple[str, int]], end_s: float, *, merge: bool) -> list[TimedLabel]:
    """Starts in native samples -> touching (label, start_s, end_s); empty ones vanish, equal pauses merge."""
    result: list[TimedLabel] = []
    for (label, start), (_, following) in zip(starts, [*starts[1:], ("", -1)], strict=True):
        stop_s = end_s if following < 0 else min(following / _NATIVE_RATE_HZ, end_s)
        start_s = start / _NATIVE_RATE_HZ
        if stop_s <= start_s:
            continue
        if merge and result and label == PAUSE == result[-1][0]:
            start_s = result.pop()[1]
        result.append((label, start_s, stop_s))
    return result


def _word_intervals(words: list[tuple[str, int]], phonemes: list[tuple[str, int]], end_s: float) -> list[TimedLabel]:
    """A word ends where the next word or the next pause starts."""
    breaks = [("", start) for name, start in phonemes if name == PAUSE]
    marks = sorted(words + breaks, key=lambda mark: (mark[1], mark[0] != ""))
    return [(word.strip(), start, stop) for word, start, stop in _intervals(marks, end_s, merge=False) if word]


def _to_16k(native: np.ndarray) -> np.ndarray:
    try:
        from scipy.signal import resample_poly
    except ImportError as error:
        raise ModuleNotFoundError(f"speech needs scipy to resample; install it with: {INSTALL_HINT}") from error
    # 22050 * 320 / 441 = 16000 exactly; the filter is symmetric, so nothing moves in time.
    samples = resample_poly(native.astype(np.float64) / 32768, 320, 441)
    return np.clip(samples, -1, 1).astype(np.float32)
