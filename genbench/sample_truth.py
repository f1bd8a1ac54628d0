"""The truth behind one benchmark sample, and the file that keeps it: motion tracks, boxes, phonemes, character.

The file is safetensors: float32 [F] per track as `truth.<name>`, `face_box` and `mouth_box` [F, 4], and the rest as JSON
under the metadata key "genbench".
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from genbench.speech import TimedLabel

if TYPE_CHECKING:
    import torch

    from genbench.world import Character, Truth

_METADATA_KEY = "genbench"
_TRACK_PREFIX = "truth."


@dataclass(frozen=True)
class SampleTruth:
    """Everything that made a sample; times in seconds from its start, boxes relative to the picture."""

    character: Character
    truth: Truth
    face_box: torch.Tensor
    mouth_box: torch.Tensor
    phonemes: list[TimedLabel]
    words: list[TimedLabel]

    @property
    def frames(self) -> int:
        return self.truth.frames


def truth_bytes(content: SampleTruth) -> bytes:
    """The truth file's content, the same bytes for the same truth."""
    from safetensors.torch import save

    tensors = {_TRACK_PREFIX + name: track.contiguous() for name, track in content.truth.to_dict().items()}
    tensors |= {"face_box": content.face_box.contiguous(), "mouth_box": content.mouth_box.contiguous()}
    record = {"character": content.character.to_json(), "phonemes": content.phonemes, "words": content.words}
    # One metadata key only: the format does not keep the order of several.
    return save(tensors, metadata={_METADATA_KEY: json.dumps(record, sort_keys=True)})


def read_truth(path: Path) -> SampleTruth:
    """Inverse of `truth_bytes`."""
    from safetensors import SafetensorError, safe_open

    from genbench.world import Character, Truth

    try:
        with safe_open(str(path), framework="pt") as file:
            record = json.loads(file.metadata()[_METADATA_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dictionary)
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no truth file of genbench ({error}); build the set again") from error
    tracks = {name.removeprefix(_TRACK_PREFIX): tensor for name, tensor in tensors.items() if name.startswith(_TRACK_PREFIX)}
    return SampleTruth(
        character=Character.from_json(record["character"]),
        truth=Truth.from_dict(tracks),
        face_box=tensors["face_box"],
        mouth_box=tensors["mouth_box"],
        phonemes=[tuple(item) for item in record["phonemes"]],
        words=[tuple(item) for item in record["words"]],
    )
