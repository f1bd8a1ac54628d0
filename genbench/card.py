"""The data card of a set: what is in it, how it was made, what was checked, whose it is; Markdown and one picture."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from genbench.atomic import write_bytes
from genbench.contact_sheet import contact_sheet
from genbench.coverage import COLUMNS, cells_of, column_counts, coverage_lines
from genbench.manifest import Manifest, load_manifest

CARD_NAME, SHEET_NAME = "README.md", "contact_sheet.png"
_KINDS = {
    "nano": "Procedurally drawn characters with synthesised speech: every motion, phoneme and box is known (`truth/`).",
    "generated": "Pictures, words and voices made by generators. There is no truth: nobody filmed these samples.",
    "files": "A user's own pictures or recordings.",
    "videos": "Clips cut from real talking videos, which are their truth (`truth/`).",
}


def write_card(folder: Path, out: Path) -> list[Path]:
    """Write README.md and contact_sheet.png of the set in `folder` into `out`; the same set gives the same bytes."""
    manifest = load_manifest(folder)
    write_bytes(out / SHEET_NAME, contact_sheet(manifest))
    write_bytes(out / CARD_NAME, card_text(manifest).encode())
    return [out / CARD_NAME, out / SHEET_NAME]


def card_text(manifest: Manifest) -> str:
    """The card as Markdown."""
    sections = [
        _head(manifest),
        "## Coverage\n\n" + "\n".join(coverage_lines(cells_of(manifest.samples))) + "\n\n" + _columns(manifest),
        "## Speech\n\n" + _speech(manifest),
        "## Quality gate\n\n" + _gate(manifest),
        "## How it was made\n\n" + _making(manifest),
        "## Licence and consent\n\n" + _rights(manifest),
        "## Use\n\n" + _use(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _head(manifest: Manifest) -> str:
    seconds = sum(sample.duration_s for sample in manifest.samples)
    return (
        f"# {manifest.name} ({manifest.suite})\n\n![Every reference picture of the set, with its face box]({SHEET_NAME})\n\n"
        f"{_KINDS.get(manifest.kind, '')} {len(manifest.samples)} samples, {seconds / 60:.1f} minutes of speech, seed "
        f"{manifest.seed}.\n\nVersion (digest of all files): `{manifest.digest}`"
    )


def _columns(manifest: Manifest) -> str:
    lines = ["| column | values |", "|---|---|"]
    for column in COLUMNS:
        counts = column_counts(manifest.samples, column)
        lines.append(f"| {column} | {', '.join(f'{value} {count}' for value, count in counts.items())} |")
    looks = column_counts(manifest.samples, "look")
    lines.append(f"| look | {len(looks)} kinds, none more than {max(looks.values())} times |")
    return "\n".join(lines)


def _speech(manifest: Manifest) -> str:
    lengths = sorted(sample.duration_s for sample in manifest.samples)
    voices = Counter(json.dumps(sample.spec.get("voice")) for sample in manifest.samples if sample.spec.get("voice"))
    text = f"Shortest {lengths[0]:.2f} s, median {median(lengths):.2f} s, longest {lengths[-1]:.2f} s; 16 kHz, mono, 16 bit."
    if manifest.kind == "nano" and voices:
        text += f" {len(voices)} voices."
    if manifest.segments_s:
        spans = ", ".join(f"{start}-{stop} s" for start, stop in manifest.segments_s)
        text += (
            f"\n\nFor endless streams a voice is repeated (rule {manifest.long_audio.get('rule')}: its last pause cut to "
            f"{manifest.long_audio.get('pause_s')} s, seams cross-faded over {manifest.long_audio.get('fade_s')} s); "
            f"scored: {spans}. "
            "`genbench export --form long-audio` writes them."
        )
    return text


def _gate(manifest: Manifest) -> str:
    checks: dict[str, list[dict[str, Any]]] = {}
    for sample in manifest.samples:
        for check in sample.checks:
            checks.setdefault(check["name"], []).append(check)
    lines = ["| check | limit | passed | not done | lowest | median | highest |", "|---|---|---|---|---|---|---|"]
    lines += [_gate_line(name, found) for name, found in checks.items()]
    again = [sample for sample in manifest.samples if sample.attempt]
    lines += [
        "",
        f"Made again before they passed: {len(again)} samples{_reasons(again)}. Left out: {len(manifest.left_out)}.",
    ]
    lines += [f"- {one['id']}: {'; '.join(one['reasons'])}" for one in manifest.left_out]
    boxes = Counter(sample.face_box_source for sample in manifest.samples)
    lines.append(f"\nFace boxes: {', '.join(f'{source} {count}' for source, count in boxes.items())}.")
    return "\n".join(lines)


def _gate_line(name: str, found: Sequence[dict[str, Any]]) -> str:
    values = sorted(check["value"] for check in found if check["value"] is not None)
    passed = sum(check["passed"] is True for check in found)
    undone = sum(check["passed"] is None for check in found)
    limits = {check["limit"] for check in found}
    # A length's limit is each sample's own.
    limit = limits.pop() if len(limits) == 1 else "near each sample's target"
    spread = [f"{value:g}" for value in (values[0], median(values), values[-1])] if values else ["", "", ""]
    return f"| {name} | {limit} | {passed} | {undone} | {' | '.join(spread)} |"


def _reasons(again: Sequence[Any]) -> str:
    kinds = Counter(reason.partition(": ")[2].partition(":")[0] for sample in again for reason in sample.failures)
    return f" ({', '.join(f'{kind} {count}' for kind, count in kinds.items())})" if kinds else ""


def _making(manifest: Manifest) -> str:
    lines = [f"- {role}: `{json.dumps(made, sort_keys=True)}`" for role, made in manifest.providers.items()]
    lines.append(f"- programs: {', '.join(f'{name} {version}' for name, version in manifest.generator.items())}")
    if manifest.usage:
        lines.append(f"- paid services: `{json.dumps(manifest.usage, sort_keys=True)}`")
    return "\n".join(lines)


def _rights(manifest: Manifest) -> str:
    licences: dict[str, Counter[str]] = {}
    for sample in manifest.samples:
        for kind, licence in sample.licence.items():
            licences.setdefault(kind, Counter())[licence] += 1
    lines = [f"- {kind}: {'; '.join(counts)}" for kind, counts in licences.items()]
    lines.append(f"- consent: {manifest.consent}")
    passing = (
        "may be passed on under these licences" if manifest.redistributable else "may not be passed on: share the manifest"
    )
    lines.append(f"- the media {passing}")
    return "\n".join(lines)


def _use(manifest: Manifest) -> str:
    return (
        "A method may see `samples/ID/reference.png`, `speech.wav` and `prompt.txt`, nothing else; `truth/` is for control "
        "rows and for checking metrics.\n\n`python -m genbench check FOLDER` re-hashes every file. Cite the set as "
        f"{manifest.name} "
        f"({manifest.suite}), digest {manifest.digest[:16]}."
    )
