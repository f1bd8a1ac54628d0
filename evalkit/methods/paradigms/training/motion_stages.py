"""Training of the motion space: the codec from pairs of pictures, then the denoiser from its motion and the voices."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from evalkit.methods.paradigms.motion_space.networks import MotionCodec, MotionDenoiser, voice_rows
from liveavatar.components import Components
from liveavatar.config import FRAMES_PER_LATENT
from liveavatar.training.data import LEAD_FRAMES, shard_files, split, step_generator

logger = logging.getLogger(__name__)
NO_VOICE_SHARE = 0.1
MOUTH_WEIGHT = 6.0


def to_pixels(frames: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] -> [B, 3, H, W] in [-1, 1]."""
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1


class MotionCodecStage:
    """Pairs of one character: a source (a reference picture or any frame) and a target frame, which is to be rendered."""

    def __init__(self, shards: Path, seed: int, batch: int, model: MotionCodec | None = None) -> None:
        train_files, held_files = split(shard_files(shards))
        self.data, self.held = ([safe_open(file, "pt") for file in files] for files in (train_files, held_files))
        self.seed, self.batch = seed, batch
        torch.manual_seed(seed)
        self.model: nn.Module = model or MotionCodec()

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Mean absolute error of the rendered target, counted more around the mouth."""
        source, target, boxes = self._pairs(self.data, self.batch, step_generator(self.seed, "pairs", step))
        error = self._error(source, target)
        weights = 1 + MOUTH_WEIGHT * inside(boxes, error.shape[-2], error.shape[-1])
        return (error * weights).mean(), {"plain": error.mean().item()}

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out error, and that of showing the source as it is."""
        del model
        source, target, boxes = self._pairs(self.held, 32, step_generator(self.seed, "held-out", 0))
        near = inside(boxes, *target.shape[-2:])
        found, still = self._error(source, target), (source - target).abs()
        figures = {"loss": found.mean().item(), "still": still.mean().item()}
        for name, error in (("mouth", found), ("mouth_still", still)):
            figures[name] = ((error * near).sum() / (near.sum() * error.shape[1])).item()
        return figures

    def _error(self, source: Tensor, target: Tensor) -> Tensor:
        codec = self.model
        assert isinstance(codec, MotionCodec)
        return (codec.render(codec.source(source), codec.encode(target)).float() - target).abs()

    def _pairs(self, shards: list, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Sources and targets [count, 3, H, W] and the targets' mouth boxes [count, 4]."""
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for _ in range(count):
            shard = shards[_draw(len(shards), generator)]
            frames, pictures = shard.get_slice("frames"), shard.get_slice("references")
            clips, length = frames.get_shape()[:2]
            clip, target, other = _draw(clips, generator), _draw(length, generator), _draw(length, generator)
            kind = _draw(3, generator)
            source = frames[clip : clip + 1, other][0] if kind == 2 else pictures[clip : clip + 1, kind][0]
            box = shard.get_slice("mouth_box")[clip : clip + 1, target][0]
            parts.append((source, frames[clip : clip + 1, target][0], box))
        sources, targets, boxes = (torch.stack([part[i] for part in parts]) for i in range(3))
        return to_pixels(sources), to_pixels(targets), boxes


def inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """1 inside boxes [B, 4] (x0, y0, x1, y1 in parts of the picture), 0 outside: [B, 1, height, width]."""
    rows, columns = ((torch.arange(size) + 0.5) / size for size in (height, width))
    x0, y0, x1, y1 = (edge[:, None, None] for edge in boxes.unbind(-1))
    found = (rows[:, None] >= y0) & (rows[:, None] <= y1) & (columns >= x0) & (columns <= x1)
    return found[:, None].float()


@torch.no_grad()
def prepare_motion(codec: MotionCodec, components: Components, shards: Path, out: Path) -> None:
    """Every shard of frames to a small one: motion vectors [C, F, M], the pictures' own [C, 2, M], voice rows [C, L, V].

    The last frames that do not fill a latent frame are left out. Shards that are there already are skipped.
    """
    out.mkdir(parents=True, exist_ok=True)
    codec.eval()
    for source in shard_files(shards):
        target = out / source.name
        if target.exists():
            continue
        with safe_open(source, "pt") as shard:
            frames, pictures, audio = (shard.get_tensor(name) for name in ("frames", "references", "audio"))
        usable = frames.shape[1] // FRAMES_PER_LATENT * FRAMES_PER_LATENT
        motion = torch.stack([codec.encode(to_pixels(clip[:usable])) for clip in frames])
        still = torch.stack([codec.encode(to_pixels(pair)) for pair in pictures])
        heard = torch.stack([clip_voice_rows(components, clip, usable // FRAMES_PER_LATENT) for clip in audio])
        partial = target.with_suffix(".partial")
        save_file({"motion": motion, "still": still, "voice": heard.half().contiguous()}, partial)
        partial.replace(target)
        logger.info("prepared %s", source.name)


def clip_voice_rows(components: Components, audio: Tensor, latents: int) -> Tensor:
    """Voice rows [latents, V] of a shard's clip, by the front end that streams use; audio int16 with its lead."""
    config = components.config
    samples = audio.numpy().astype("float32") / 32768
    # One block before the clip is heard first, so that its beginning has a history.
    begin = (LEAD_FRAMES - config.block_frames) * config.samples_per_frame
    front, blocks = components.conditions(config.rollout), 1 + -(-latents // config.block_latents)
    found = [*front.push(samples[begin:]), *front.finish(blocks)]
    rows = torch.cat([voice_rows(one.local, one.pooled)[0] for one in found])
    return rows[config.block_latents : config.block_latents + latents]


class MotionDenoiserStage:
    """Flow matching on windows of motion, given the voice, the motion before the window and the picture's own."""

    def __init__(
        self, prepared: Path, seed: int, batch: int, window: int = 80, model: MotionDenoiser | None = None
    ) -> None:
        """Raises ValueError for clips shorter than a window and the frame before it."""
        train_files, held_files = split(shard_files(prepared))
        self.data, self.held = (_joined(files) for files in (train_files, held_files))
        self.seed, self.batch, self.window = seed, batch, window
        frames = self.data["motion"].shape[1]
        if frames < window + 1:
            raise ValueError(
                f"clips of {frames} frames are shorter than a window of {window} and the frame before it; make longer "
                f"shards: python -m genbench shards --frames {window + 17}"
            )
        torch.manual_seed(seed)
        network = model or MotionDenoiser(self.data["voice"].shape[-1])
        network.mean.copy_(self.data["motion"].mean((0, 1)))
        network.spread.copy_(self.data["motion"].std((0, 1)).clamp(min=1e-3))
        self.model: nn.Module = network

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Mean square of velocity errors."""
        error = self._errors(self.data, self.batch, step_generator(self.seed, "windows", step)).mean()
        return error, {"plain": error.item()}

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Held-out error, and how much worse it gets with another clip's voice."""
        del model
        both = [
            self._errors(self.held, 32, step_generator(self.seed, "held-out", 0), roll).mean().item() for roll in (0, 1)
        ]
        return {"loss": both[0], "voice_gap": both[1] - both[0]}

    def _errors(self, data: dict[str, Tensor], count: int, generator: torch.Generator, roll: int = 0) -> Tensor:
        network, n = self.model, self.window
        assert isinstance(network, MotionDenoiser)
        clips = torch.randint(len(data["motion"]), (count,), generator=generator)
        motion, voice = data["motion"][clips], data["voice"][clips].float().roll(roll, 0)
        start = int(torch.randint(1, motion.shape[1] - n + 1, (1,), generator=generator))
        still = network.normed(data["still"][clips, _draw(2, generator)])
        clean = network.normed(motion[:, start : start + n])
        # The stream's first window begins at the picture's own motion.
        is_first = torch.rand(count, 1, generator=generator) < 0.2
        initial = torch.where(is_first, still, network.normed(motion[:, start - 1]))
        level, noise = torch.rand(count, generator=generator), torch.randn(clean.shape, generator=generator)
        x = torch.lerp(clean, noise, level[:, None, None])
        heard = network.heard(voice)[:, start : start + n]
        silent = torch.rand(count, 1, 1, generator=generator) < (0 if roll else NO_VOICE_SHARE)
        heard = torch.where(silent, network.no_voice.to(heard), heard)
        return F.mse_loss(network(x, level, heard, initial, still).float(), noise - clean, reduction="none")


def _joined(files: list[Path]) -> dict[str, Tensor]:
    parts = [load_file(file) for file in files]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _draw(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator))
