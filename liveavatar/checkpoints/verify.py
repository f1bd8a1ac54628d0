"""Whether a checkpoint folder is whole and right: files, digests, names and shapes, read from headers only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from liveavatar.checkpoints.encoders import umt5_sizes
from liveavatar.checkpoints.files import TensorSource, listed, open_files
from liveavatar.checkpoints.layout import Layout, lora_targets, s2v_layout, umt5_layout, vae_layout, wav2vec_layout
from liveavatar.checkpoints.lora import plan_lora
from liveavatar.checkpoints.official import OfficialFolder
from liveavatar.checkpoints.store import WeightsError, file_digest

CHECKSUMS = "SHA256SUMS"
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_OLD_NORM = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}


@dataclass(frozen=True)
class PartReport:
    """What was found of one part. digests: files whose sha256 was compared with a recorded one."""

    name: str
    problem: str = ""
    files: int = 0
    tensors: int = 0
    values: int = 0
    bytes: int = 0
    digests: int = 0

    @property
    def is_fine(self) -> bool:
        return not self.problem


def verify(root: Path, with_digests: bool = True) -> list[PartReport]:
    """One report per part; a problem in one does not hide the others. No tensor is read, with digests every byte is.

    Digests are those of `SHA256SUMS` in `root` and those that the hub's download tool recorded beside the files.
    Raises WeightsError when `root` is no folder.
    """
    folder = OfficialFolder(root)
    checks: dict[str, Callable[[OfficialFolder], TensorSource]] = {
        "transformer": _transformer,
        "lora": _lora,
        "text": _text,
        "voice": _voice,
        "codec": _codec,
    }
    recorded = recorded_digests(root) if with_digests else {}
    return [_report(name, check, folder, recorded) for name, check in checks.items()]


def _report(
    name: str, check: Callable[[OfficialFolder], TensorSource], folder: OfficialFolder, recorded: dict[Path, str]
) -> PartReport:
    try:
        source = check(folder)
        compared = [file for file in source.files if file.resolve() in recorded]
        for file in compared:
            if file_digest(file) != recorded[file.resolve()]:
                raise WeightsError(f"{file} does not match its recorded sha256; fetch it again")
    except WeightsError as error:
        return PartReport(name, problem=str(error))
    infos = source.tensors.values()
    size, values = sum(file.stat().st_size for file in source.files), sum(info.parameters for info in infos)
    return PartReport(name, "", len(source.files), len(infos), values, size, len(compared))


def recorded_digests(root: Path) -> dict[Path, str]:
    """sha256 by resolved path: from `SHA256SUMS` (as sha256sum writes it) and from the hub tool's download records."""
    digests: dict[Path, str] = {}
    for record in root.rglob(".cache/huggingface/download/**/*.metadata"):
        base = next(parent for parent in record.parents if parent.name == ".cache").parent
        inner = record.relative_to(base / ".cache" / "huggingface" / "download")
        lines = record.read_text().splitlines()
        # Commit, etag, time. Large files have their sha256 as etag; small ones another hash, which is no digest here.
        if len(lines) > 1 and _SHA256.match(lines[1]):
            digests[(base / inner.with_suffix("")).resolve()] = lines[1]
    checksums = root / CHECKSUMS
    for line in checksums.read_text().splitlines() if checksums.is_file() else ():
        digest, _, name = line.partition(" ")
        if not _SHA256.match(digest):
            raise WeightsError(f"{checksums} has a line that sha256sum did not write: {line[:80]!r}")
        digests[(root / name.lstrip(" *")).resolve()] = digest
    return digests


def write_checksums(root: Path, files: list[Path]) -> None:
    """Record what the files are now, so that `verify` notices a later change."""
    lines = [f"{file_digest(file)}  {file.relative_to(root).as_posix()}\n" for file in sorted(files)]
    (root / CHECKSUMS).write_text("".join(lines))


# -------------------------------------------------------------------------------------------------------------- parts


def compare(source: TensorSource, layout: Layout) -> None:
    """Raise WeightsError naming every tensor that is missing, unknown or of another shape."""
    missing = sorted(layout.keys() - source.tensors.keys())
    unknown = sorted(source.tensors.keys() - layout.keys())
    wrong = [
        f"{name} is {list(info.shape)}, not {list(layout[name])}"
        for name, info in source.tensors.items()
        if name in layout and info.shape != layout[name]
    ]
    kinds = (("missing", missing), ("unknown", unknown), ("of a wrong shape", wrong))
    problems = [f"{len(names)} {kind}: {listed(names)}" for kind, names in kinds if names]
    if problems:
        where = source.files[0] if len(source.files) == 1 else source.files[0].parent
        raise WeightsError(f"{where}: {'; '.join(problems)}")


def _transformer(folder: OfficialFolder) -> TensorSource:
    layout = s2v_layout(folder.config())
    source = open_files(folder.transformer)
    compare(source, layout)
    if folder.transformer.suffix == ".json":
        promised = json.loads(folder.transformer.read_text()).get("metadata", {}).get("total_size")
        held = sum(info.bytes for info in source.tensors.values())
        if promised is not None and int(promised) != held:
            raise WeightsError(f"{folder.transformer} promises {promised:,} bytes of tensors; the shards hold {held:,}")
    return source


def _lora(folder: OfficialFolder) -> TensorSource:
    layout = s2v_layout(folder.config())
    source = open_files(folder.lora)
    targets = lora_targets(layout)
    layers = {name.removesuffix(".weight") for name, shape in layout.items() if len(shape) == 2}
    plan = plan_lora(layout, layers, source)
    absent = sorted(targets.keys() - plan.pairs.keys())
    if absent:
        raise WeightsError(f"{folder.lora} adapts {len(plan.pairs)} of {len(targets)} layers; without: {listed(absent)}")
    return source


def _text(folder: OfficialFolder) -> TensorSource:
    source = open_files(folder.text)
    compare(source, umt5_layout(umt5_sizes(source.tensors)))
    if not (folder.tokenizer / "tokenizer.json").is_file():
        raise WeightsError(f"{folder.tokenizer / 'tokenizer.json'} is missing")
    return source


def _codec(folder: OfficialFolder) -> TensorSource:
    source = open_files(folder.codec)
    stem = source.tensors.get("encoder.conv1.weight")
    compare(source, vae_layout(stem.shape[0] if stem else 96))
    return source


def _voice(folder: OfficialFolder) -> TensorSource:
    config = folder.voice / "config.json"
    try:
        layout = wav2vec_layout(json.loads(config.read_text()))
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{config} cannot be read ({error}); fetch it again") from error
    file = folder.voice / "model.safetensors"
    pickled = folder.voice / "pytorch_model.bin"
    source = open_files(pickled if pickled.is_file() and not file.is_file() else file)
    compare(source, _as_stored(layout, source))
    return source


def _as_stored(layout: Layout, source: TensorSource) -> Layout:
    """The voice layout under the names of this file: newer exports rename the weight norm and may drop what is unused."""
    if any("parametrizations" in name for name in source.tensors):
        for new, old in _OLD_NORM.items():
            layout = {name.replace(old, new): shape for name, shape in layout.items()}
    if not any(name.startswith("wav2vec2.") for name in source.tensors):
        layout = {name.removeprefix("wav2vec2."): shape for name, shape in layout.items()}
    unused = ("lm_head.weight", "lm_head.bias", "wav2vec2.masked_spec_embed", "masked_spec_embed")
    return {name: shape for name, shape in layout.items() if name in source.tensors or name not in unused}
