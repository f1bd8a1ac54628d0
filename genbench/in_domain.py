"""An in-domain set with truth from a folder of talking videos: held out by name, filtered by scores, cut to short clips.

The videos stay where they are and are not for passing on; the manifest holds names, times and scores, from which anyone
with the same videos makes the same set again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genbench import __version__
from genbench.atomic import canonical_json, remove_leftovers, write_bytes, write_json
from genbench.design import shuffled
from genbench.errors import DamagedSetError
from genbench.examiners import make_examiners
from genbench.locks import exclusive
from genbench.making import NOTES, examined
from genbench.manifest import MANIFEST_NAME, FileEntry, Manifest, Sample, load_manifest, read_manifest
from genbench.paths import sample_id
from genbench.picture import png_bytes
from genbench.providers.base import Box
from genbench.quality import Check, Gate, failures
from genbench.score_rules import Rule, Scores, read_scores, refusal
from genbench.seeds import python_random
from genbench.sound import int16_wav
from genbench.timeline import FPS, FRAMES_PER_BLOCK, SAMPLES_PER_FRAME, to_int16
from genbench.video import VIDEO_SUFFIXES, cut_frames, cut_sound, video_length_s, write_video

_PROMPT = "A person talking to the camera."
# Speech of found videos has pauses and levels of its own: only silence and broken files are refused.
VIDEO_GATE = Gate(min_side=96, sharpness=5.0, level_db=(-45.0, -3.0), silence_s=4.0, clipped_share=0.01)


@dataclass(frozen=True)
class ImportOptions:
    """clips: how many, one per video. held_out: share of all videos, chosen by their names alone. seconds: length of a
    clip.
    """

    clips: int = 50
    held_out: float = 0.05
    seconds: tuple[float, float] = (5.0, 10.0)
    rules: tuple[str, ...] = ()
    seed: int = 0
    licence: str = ""
    consent: str = ""
    gate: Gate = VIDEO_GATE

    def __post_init__(self) -> None:
        low, high = self.seconds
        if self.clips < 1 or not 0 < self.held_out <= 1 or not 0.48 <= low <= high:
            raise ValueError(
                f"clips={self.clips}, held_out={self.held_out}, seconds={self.seconds}; give at least 1 clip, a share in "
                "(0, 1] and 0.48 <= low <= high"
            )
        if not self.licence or not self.consent:
            raise ValueError(
                "videos show real people: say under which licence (--licence) and with whose consent (--consent) they are "
                "used, e.g. --licence 'YouTube, research use' --consent 'published by the speakers'"
            )


def import_videos(
    videos: Path,
    out: Path,
    options: ImportOptions,
    scores: Path | None = None,
    boxes: Mapping[str, Box] | None = None,
    prompts: Mapping[str, str] | None = None,
    on_clip: Callable[[bool], None] = lambda made_now: None,
) -> Manifest:
    """Cut the set into `out`; a repeated call finishes or repairs it. prompts: by video name, "" stands for all others.

    Raises ValueError where rules and scores do not come together, or too few videos are left.
    """
    if bool(options.rules) != (scores is not None):
        raise ValueError("rules need --scores FILE, and a table of scores needs rules: --keep 'sync_c>=3'")
    out.mkdir(parents=True, exist_ok=True)
    with exclusive(out / NOTES / "lock", f"another import is at work in {out}"):
        known = read_scores(scores) if scores else {}
        chosen, left_out = _candidates(videos, options, known)
        fingerprint = _fingerprint(options, chosen, known, boxes or {}, prompts or {})
        done = _finished(out, fingerprint)
        if done is not None:
            return done
        samples: list[Sample] = []
        for path in chosen:
            if len(samples) == options.clips:
                break
            try:
                sample, made_now = _clip(
                    path, videos, out, options, known.get(path.stem, {}), boxes or {}, prompts or {}, fingerprint
                )
                reasons = failures([Check(**check) for check in sample.checks])
            except ValueError as error:
                reasons = [str(error)]
            if reasons:
                left_out.append({"id": path.stem, "reasons": reasons, "failures": []})
                continue
            samples.append(sample)
            on_clip(made_now)
        if len(samples) < options.clips:
            raise ValueError(
                f"{len(samples)} of {options.clips} clips could be cut from {len(chosen)} videos ({len(left_out)} left out, "
                f"the last: {left_out[-1] if left_out else 'none'}); lower --clips, raise --held-out or loosen --keep"
            )
        manifest = _manifest(out, options, fingerprint, samples, left_out)
        write_json(out / MANIFEST_NAME, manifest.to_record())
    return load_manifest(out)


def is_held_out(name: str, share: float) -> bool:
    """Whether a video belongs to the held-out share: a pure function of its name, so training can ask the same question."""
    return int.from_bytes(hashlib.sha256(f"held out/{name}".encode()).digest()[:8], "big") < share * 2**64


def _candidates(videos: Path, options: ImportOptions, scores: Scores) -> tuple[list[Path], list[dict[str, Any]]]:
    """Held-out videos that the rules let through, in a random order that depends on names and seed alone."""
    rules = [Rule.parse(rule) for rule in options.rules]
    found = sorted(path for path in videos.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not found:
        raise FileNotFoundError(f"no videos ({', '.join(VIDEO_SUFFIXES)}) in {videos}")
    names = [path.stem for path in found]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(
            f"two videos are called {twice[0]!r}; names without suffix must differ, since scores are found by them"
        )
    kept, left_out = [], []
    for path in found:
        if not is_held_out(path.stem, options.held_out):
            continue
        reason = refusal(rules, scores.get(path.stem, {}))
        if reason:
            left_out.append({"id": path.stem, "reasons": [reason], "failures": []})
        else:
            kept.append(path)
    return shuffled(kept, python_random("in-domain clips", options.seed)), left_out


def _clip(
    path: Path,
    videos: Path,
    out: Path,
    options: ImportOptions,
    scores: dict[str, float],
    boxes: Mapping[str, Box],
    prompts: Mapping[str, str],
    fingerprint: str,
) -> tuple[Sample, bool]:
    """(the clip of one video as a sample, made now?)."""
    name = sample_id(path.stem)
    note = _note(out, name, fingerprint)
    if note is not None:
        return note, False
    first, frames = _span(path, options)
    home, truth = out / "samples" / name, out / "truth" / f"{name}.mp4"
    for place in (home, truth.parent):
        place.mkdir(parents=True, exist_ok=True)
        remove_leftovers(place)  # one process makes all clips, one after the other
    sound = cut_sound(path, first / FPS, frames * SAMPLES_PER_FRAME)
    shown = cut_frames(path, first, frames)
    reference = next(shown)
    write_video(truth, _chain(reference, shown), FPS)
    write_bytes(home / "reference.png", png_bytes(reference))
    write_bytes(home / "speech.wav", int16_wav(to_int16(sound), 16_000))
    write_bytes(home / "prompt.txt", f"{prompts.get(path.stem, prompts.get('', _PROMPT))}\n".encode())
    write_bytes(home / "transcript.txt", b"\n")
    box = boxes.get(name) or boxes.get(path.stem)
    sample = Sample(
        id=name,
        image=FileEntry.of(out, home / "reference.png"),
        audio=FileEntry.of(out, home / "speech.wav"),
        prompt=FileEntry.of(out, home / "prompt.txt"),
        transcript=FileEntry.of(out, home / "transcript.txt"),
        truth_file=None,
        truth_video=FileEntry.of(out, truth),
        duration_s=frames / FPS,
        frames=frames,
        fps=FPS,
        style="photo",
        composition="unstated",
        licence={"image": options.licence, "audio": options.licence, "text": "CC0-1.0"},
        face_box=box,
        face_box_source="hand" if box else "none",
        folder=out,
        source={"video": path.relative_to(videos).as_posix(), "start_s": first / FPS, "scores": scores},
    )
    sample = examined(sample, options.gate, make_examiners(options.gate))
    write_json(out / NOTES / f"{name}.json", {"fingerprint": fingerprint, "sample": sample.to_record()})
    return sample, True


def _span(path: Path, options: ImportOptions) -> tuple[int, int]:
    """(first frame, frames) of a clip: whole blocks, somewhere in the video. Raises ValueError where the video is too
    short.
    """
    source = python_random("in-domain span", options.seed, path.stem)
    low, high = options.seconds
    total = int(video_length_s(path) * FPS)
    most = min(int(high * FPS), total) // FRAMES_PER_BLOCK
    least = -(-int(low * FPS) // FRAMES_PER_BLOCK)
    if most < least:
        raise ValueError(f"{path.name} has {total / FPS:.1f} s, clips have {low:g} s or more")
    frames = (least + int(source.random() * (most - least + 1))) * FRAMES_PER_BLOCK
    return int(source.random() * (total - frames + 1)), frames


def _chain(first: Any, others: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from others


def _note(out: Path, name: str, fingerprint: str) -> Sample | None:
    try:
        record = json.loads((out / NOTES / f"{name}.json").read_text(encoding="utf-8"))
        if record["fingerprint"] != fingerprint:
            return None
        sample = Sample.from_record(record["sample"], out)
        for entry in sample.files():
            entry.check_hash(out)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return sample


def _finished(out: Path, fingerprint: str) -> Manifest | None:
    if not (out / MANIFEST_NAME).exists():
        return None
    if read_manifest(out).spec_fingerprint != fingerprint:
        raise ValueError(
            f"{out} holds another set, or one of other videos or options; choose another folder or delete this one"
        )
    try:
        return load_manifest(out)
    except DamagedSetError:
        return None


def _fingerprint(
    options: ImportOptions, chosen: list[Path], scores: Scores, boxes: Mapping[str, Box], prompts: Mapping[str, str]
) -> str:
    record = {
        "options": {name: value for name, value in asdict(options).items() if name != "gate"},
        "gate": asdict(options.gate),
        "videos": [[path.stem, path.stat().st_size, scores.get(path.stem)] for path in chosen],
        "boxes": {name: list(box) for name, box in boxes.items()},
        "prompts": dict(prompts),
    }
    return hashlib.sha256(canonical_json(record)).hexdigest()


def _manifest(
    out: Path, options: ImportOptions, fingerprint: str, samples: list[Sample], left_out: list[dict[str, Any]]
) -> Manifest:
    import av

    return Manifest(
        folder=out,
        name="genbench_in_domain",
        suite="imported",
        seed=options.seed,
        generator={"genbench": __version__, "av": av.__version__},
        spec_fingerprint=fingerprint,
        samples=tuple(samples),
        kind="videos",
        providers={"image": {"name": "videos"}, "speech": {"name": "videos"}, "text": {"name": "videos"}},
        licence=options.licence,
        consent=options.consent,
        redistributable=False,
        left_out=tuple(left_out),
        gate={name: list(value) if isinstance(value, tuple) else value for name, value in asdict(options.gate).items()},
    )
