"""Training export of the nano world: shards of rendered clips, one safetensors file each.

A shard of C clips of F frames holds
    frames        uint8   [C, F, 128, 96, 3]   the talking character
    references    uint8   [C, 2, 128, 96, 3]   the same character at other moments: mouth closed, mouth anyhow
    audio         int16   [C, (16 + F + 8) * 640]  16 kHz; frame 0 starts at sample 16 * 640
    truth.<name>  float32 [C, F]               every track that made the frames, e.g. truth.mouth_open
    mouth_box, face_box  float32 [C, F, 4]     x0, y0, x1, y1 relative to the picture
    identity      float32 [C, IDENTITY_DIM]
and, under the metadata key "genbench", a JSON record with the constants, prompts and attributes. (One key: the format
does not keep the order of several, and the same seed must give the same bytes.)
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genbench import __version__
from genbench.atomic import remove_leftovers, write_bytes
from genbench.clips import AUDIO_LEAD_FRAMES, AUDIO_TAIL_FRAMES, Clip, make_clip
from genbench.timeline import FPS, SAMPLES_PER_FRAME

if TYPE_CHECKING:
    import torch

SHARD_SCHEMA_VERSION = 1
METADATA_KEY = "genbench"
HEIGHT, WIDTH = 128, 96
CLIPS_PER_RENDER = 4
# No shard takes so long to write: a temporary file of this age belongs to a killed process.
_LEFTOVER_AGE_S = 900


@dataclass(frozen=True)
class ShardPlan:
    """Which clips to write, and where: clips [start, start + clips) in shards aligned to `shard_size`."""

    clips: int
    out: Path
    frames: int = 61
    seed: int = 0
    shard_size: int = 32
    start: int = 0

    def __post_init__(self) -> None:
        if self.clips < 1 or self.frames < 1 or self.shard_size < 1 or self.start < 0:
            raise ValueError(f"clips={self.clips}, frames={self.frames}, shard_size={self.shard_size}, start={self.start}; "
                             "give at least 1 clip, frame and clip per shard, and a start of 0 or more")

    def shards(self) -> list[range]:
        """Clip indices of each shard file; the last may be short."""
        stop = self.start + self.clips
        return [range(first, min(first + self.shard_size, stop)) for first in range(self.start, stop, self.shard_size)]

    def path(self, clips: range) -> Path:
        """File of one shard: seed, frame count, first clip and number of clips are in its name."""
        return self.out / f"nano-s{self.seed}-f{self.frames}-{clips.start:07d}-n{len(clips)}.safetensors"


def export_shards(plan: ShardPlan, workers: int = 1) -> Iterator[tuple[Path, bool]]:
    """Write the missing shards; yields (path, was it written now) as each is settled."""
    plan.out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(plan.out, older_than_s=_LEFTOVER_AGE_S)
    missing = []
    for clips in plan.shards():
        if plan.path(clips).exists():
            yield plan.path(clips), False
        else:
            missing.append(clips)
    if workers <= 1 or len(missing) <= 1:
        for clips in missing:
            yield write_shard(plan, clips), True
        return
    # Spawned, not forked: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(missing)), mp_context=context, initializer=_start_worker) as pool:
        futures = [pool.submit(write_shard, plan, clips) for clips in missing]
        try:
            for future in as_completed(futures):
                yield future.result(), True
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def write_shard(plan: ShardPlan, clips: range) -> Path:
    """Make and write one shard, whatever other processes do."""
    from safetensors.torch import save

    made = [make_clip(plan.seed, index, plan.frames) for index in clips]
    tensors = shard_tensors(made, plan.frames)
    metadata = {METADATA_KEY: json.dumps(shard_metadata(made, plan), sort_keys=True)}
    path = plan.path(clips)
    write_bytes(path, save(tensors, metadata=metadata))
    return path


def shard_tensors(clips: list[Clip], frames: int) -> dict[str, torch.Tensor]:
    """The tensors of a shard, as listed at the top of this file."""
    import numpy as np
    import torch

    from genbench.world import Truth

    firsts = range(0, len(clips), CLIPS_PER_RENDER)
    groups = [_render_group(clips[first : first + CLIPS_PER_RENDER], frames) for first in firsts]
    tensors = {name: torch.cat([group[name] for group in groups]) for name in groups[0]}
    tensors["audio"] = torch.from_numpy(np.stack([clip.audio for clip in clips]))
    tensors["identity"] = torch.tensor([clip.character.identity for clip in clips], dtype=torch.float32)
    for name, track in Truth.stack([clip.truth for clip in clips]).to_dict().items():
        tensors[f"truth.{name}"] = track.float()
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def shard_metadata(clips: list[Clip], plan: ShardPlan) -> dict[str, Any]:
    """The JSON record of a shard: everything needed to read it and to make it again."""
    from genbench.speech import SAMPLE_RATE_HZ, library_version
    from genbench.world import IDENTITY_DIM

    return {
        "schema_version": SHARD_SCHEMA_VERSION,
        "generator": {"genbench": __version__, "espeak-ng": library_version()},
        "seed": plan.seed,
        "clips": [clip.index for clip in clips],
        "fps": FPS,
        "frames": plan.frames,
        "height": HEIGHT,
        "width": WIDTH,
        "audio_rate_hz": SAMPLE_RATE_HZ,
        "samples_per_frame": SAMPLES_PER_FRAME,
        "audio_lead_frames": AUDIO_LEAD_FRAMES,
        "audio_tail_frames": AUDIO_TAIL_FRAMES,
        "identity_dim": IDENTITY_DIM,
        "prompts": [clip.character.prompt() for clip in clips],
        "attributes": [clip.character.attributes() for clip in clips],
        "styles": [clip.character.style for clip in clips],
        "compositions": [clip.character.composition for clip in clips],
        "voices": [asdict(clip.voice) for clip in clips],
        "kinds": [clip.kind for clip in clips],
    }


def read_metadata(path: Path) -> dict[str, Any]:
    """The JSON record of a shard file, without reading its tensors."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        record = (file.metadata() or {}).get(METADATA_KEY)
    if record is None:
        raise ValueError(f"{path} has no {METADATA_KEY!r} metadata, so it is no shard of ours; "
                         "write shards with `python -m genbench shards`")
    return json.loads(record)


def _render_group(clips: list[Clip], frames: int) -> dict[str, torch.Tensor]:
    """Pictures and boxes of a few clips: the references are rendered as two more frames of the same batch."""
    import torch

    from genbench.world import Truth, face_box, mouth_box, render

    characters = [clip.character for clip in clips]
    joined = [
        {name: torch.cat([track, getattr(clip.references, name)]) for name, track in clip.truth.to_dict().items()}
        for clip in clips
    ]
    truth = Truth.stack([Truth.from_dict(tracks) for tracks in joined])
    pictures = render(characters, truth, height=HEIGHT, width=WIDTH)
    seen = truth.slice(0, frames)
    return {
        "frames": pictures[:, :frames],
        "references": pictures[:, frames:],
        "mouth_box": mouth_box(characters, seen).float(),
        "face_box": face_box(characters, seen).float(),
    }


def _start_worker() -> None:
    """One thread per process, and Ctrl-C is the parent's business: a worker ends its shard first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
