"""From a recipe to a running stage: builds modules, runs the loop, and exports what is shipped."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from liveavatar.checkpoints.store import MANIFEST, VARIED, open_weights, write_weights
from liveavatar.checkpoints.variants import difference
from liveavatar.config import nano
from liveavatar.model.codec import Codec
from liveavatar.model.compiled import compile_for_training
from liveavatar.model.light_decoder import LightDecoder
from liveavatar.model.text import HashedWords
from liveavatar.model.transformer import initialise
from liveavatar.training import checkpoint, parallel
from liveavatar.training.adapters import peft_names
from liveavatar.training.codec_stage import CodecStage, LightStage, fit_basis
from liveavatar.training.data import shard_files
from liveavatar.training.diffusion_forcing import ForcingStage, Generator
from liveavatar.training.distillation import DistillStage
from liveavatar.training.loop import SeveralNetworks, Stage, train
from liveavatar.training.networks import Copies
from liveavatar.training.official_stages import official_distillation, official_encoders, official_forcing
from liveavatar.training.prepare import encode_shard
from liveavatar.training.prepare_clips import ClipEncoders, NanoEncoders
from liveavatar.training.prepare_clips import prepare_clips as prepare_windows
from liveavatar.training.recipes import ForcingOptions, Recipe
from liveavatar.training.sample_videos import SampleVideos
from liveavatar.training.video_clips import ClipOptions
from liveavatar.training.voice_stage import VoiceReader, VoiceStage

logger = logging.getLogger(__name__)
BASIS = "basis.safetensors"
VARIANT_RANK = 24


@dataclass(frozen=True)
class Sources:
    """The folders that a run reads. shards: of frames (codec, light) or of latents (all others).

    start: training or weights folder whose weights a new run begins with; voice: training folder of the voice stage, for
    stage 1's audio encoder; teacher: training folder of the bidirectional teacher, for stage 2. base: folder of the
    published weights, for the 14B profile, whose teacher is the base itself. decoder: weights folder whose light decoder
    shows sample videos on the way (nano); None: no videos.
    """

    shards: Path
    codec: Path | None = None
    start: Path | None = None
    voice: Path | None = None
    teacher: Path | None = None
    base: Path | None = None
    decoder: Path | None = None


def run(recipe: Recipe, sources: Sources, out: Path, max_minutes: float) -> None:
    """Train the recipe's stage into `out`, resuming what is there."""
    torch.manual_seed(recipe.seed)  # initial weights only; everything later is keyed by step
    stage = build(recipe, sources)
    show = None
    if sources.decoder is not None and isinstance(stage, ForcingStage | DistillStage) and recipe.stage != "teacher":
        decoder = LightDecoder(stage.profile.codec)
        open_weights(sources.decoder).load_into("light_decoder", decoder)
        show = SampleVideos(stage, decoder, out / "samples")
    train(stage, recipe, out, max_minutes, show)


def build(recipe: Recipe, sources: Sources) -> Stage | SeveralNetworks:
    """The recipe's stage with the weights that it starts from; raises ValueError naming a folder that it lacks."""
    if recipe.profile != "nano":
        return _official(recipe, sources)
    if recipe.stage == "stage2":
        return _distillation(recipe, sources)
    stage = _stage(recipe, sources.shards, sources.codec)
    if sources.start is not None:
        _adopt(stage.model, sources.start)
    elif recipe.stage == "teacher":
        raise ValueError("the teacher begins as stage 1; give its training folder: --initial DIR")
    if sources.voice is not None:
        assert isinstance(stage, ForcingStage)
        _adopt_voice(stage.network, sources.voice)
    if recipe.compiled and isinstance(stage, ForcingStage):
        compile_for_training(stage.network.transformer)
    return stage


def _official(recipe: Recipe, sources: Sources) -> Stage | SeveralNetworks:
    """A stage of the 14B profile on this process's device."""
    if sources.base is None:
        raise ValueError(f"profile {recipe.profile!r} needs --base DIR, the folder of the published weights")
    device = parallel.device()
    if recipe.stage == "stage1":
        return official_forcing(recipe, sources.shards, sources.base, device)
    if sources.start is None:
        raise ValueError("stage 2 needs --initial DIR, the training folder of stage 1")
    return official_distillation(recipe, sources.shards, sources.base, averaged(sources.start), device)


def _distillation(recipe: Recipe, sources: Sources) -> DistillStage:
    """Student from stage 1, teacher fixed, critic a trained copy of the teacher."""
    if sources.start is None or sources.teacher is None:
        raise ValueError(
            "stage 2 needs --initial DIR (stage 1) and --teacher DIR (the bidirectional teacher: run nano_teacher)"
        )
    profile = nano()
    student, critic, teacher = (Generator(profile) for _ in range(3))
    _adopt(student, sources.start)
    for network in (critic, teacher):
        _adopt(network, sources.teacher)
    if recipe.compiled:
        for network in (student, critic, teacher):
            compile_for_training(network.transformer)
    made_from = {"teacher": weights_digest(teacher)}
    return DistillStage(profile, Copies(student, critic, teacher), sources.shards, recipe, made_from)


def weights_digest(network: nn.Module) -> str:
    """sha256 over a network's tensors, in name order."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _adopt(model: nn.Module, folder: Path) -> None:
    """The averaged weights of a training folder, or the generator of a weights folder, into a network."""
    tensors = open_weights(folder).tensors("generator") if (folder / MANIFEST).exists() else load_file(averaged(folder))
    own = model.state_dict()
    fitting = {name: value for name, value in tensors.items() if name in own and own[name].shape == value.shape}
    missing, _ = model.load_state_dict(fitting, strict=False)
    logger.info("started from %s; new: %s; left out: %s", folder, missing, sorted(tensors.keys() - fitting.keys()))


def _adopt_voice(model: Generator, folder: Path) -> None:
    """The trained speech and audio encoders into the generator."""
    reader = VoiceReader(nano())
    reader.load_state_dict(load_file(averaged(folder)))
    assert model.speech is not None
    model.speech.load_state_dict(reader.speech.state_dict())
    model.transformer.casual_audio_encoder.load_state_dict(reader.encoder.state_dict())


def _stage(recipe: Recipe, shards: Path, codec: Path | None) -> Stage:
    profile = nano()
    if recipe.stage == "codec":
        assert codec is not None
        return CodecStage(load_codec(codec), shards, recipe.seed, recipe.batch)
    if recipe.stage == "light":
        assert codec is not None
        decoder = LightDecoder(profile.codec)
        return LightStage(load_codec(codec).requires_grad_(False), decoder, shards, recipe.seed, recipe.batch)
    if recipe.stage == "voice":
        return VoiceStage(profile, shards, recipe.seed, recipe.batch)
    model = Generator(profile)
    initialise(model.transformer, torch.Generator().manual_seed(recipe.seed))
    options = recipe.options if isinstance(recipe.options, ForcingOptions) else ForcingOptions()
    stage = ForcingStage(profile, model, shards, recipe.seed, recipe.batch, options)
    stage.fit_residual(model)
    return stage


def load_codec(folder: Path) -> Codec:
    """The codec of a training folder: its fitted linear code, and the averaged decoder once that was trained."""
    codec = Codec(nano().codec)
    trained = checkpoint.latest(folder)
    codec.load_state_dict(load_file(trained / "ema.safetensors" if trained else folder / BASIS))
    return codec


def basis(shards: Path, folder: Path) -> None:
    """Fit the linear code into `folder`: what `prepare`, `codec` and `light` start from."""
    codec = Codec(nano().codec)
    fit_basis(codec, shards, seed=0)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in codec.state_dict().items()}, folder / BASIS)


def averaged(folder: Path) -> Path:
    """The averaged weights of a training folder's newest checkpoint; a file of `averages/` is taken as it is."""
    if folder.is_file():
        return folder
    found = checkpoint.latest(folder)
    if found is None:
        raise FileNotFoundError(f"no checkpoint in {folder}; train that stage first")
    return found / "ema.safetensors"


def prepare(shards: Path, codec_folder: Path, latents: Path, part: int = 0, parts: int = 1) -> None:
    """Encode every `parts`-th rendered shard from the `part`-th on."""
    codec = load_codec(codec_folder).eval()
    c = nano().transformer
    words = HashedWords(c.text_dim, c.text_len)
    latents.mkdir(parents=True, exist_ok=True)
    for source in shard_files(shards)[part::parts]:
        encode_shard(codec, words, source, latents / source.name)
        logger.info("encoded %s", source.name)


def prepare_clips(
    videos: Path,
    latents: Path,
    codec: Path | None,
    base: Path | None,
    size: tuple[int, int] | None,
    frames: int,
    scores: Path | None,
    rules: tuple[str, ...],
    prompts: dict[str, str] | None,
    part: int = 0,
    parts: int = 1,
) -> dict[str, str]:
    """Videos to latent shards by nano's codec or by the published encoders; returns what was left out, and why."""
    encoders: ClipEncoders
    if base is not None:
        encoders = official_encoders(base, parallel.device())
    else:
        assert codec is not None
        encoders = NanoEncoders(nano(), load_codec(codec).eval())
        size = nano().height, nano().width
    assert size is not None
    options = ClipOptions(*size, window_frames=frames, rules=rules)
    return prepare_windows(encoders, videos, latents, options, scores, prompts, part, parts).left_out


def export(
    codec: Path,
    light: Path,
    stage1: Path,
    weights: Path,
    variants: dict[str, Path] | None = None,
    blend: tuple[Path, float] | None = None,
) -> None:
    """Averaged weights of all stages to bf16 files with a manifest: what the package ships.

    variants: training folders of other generators by name, kept as what they have beyond the first. blend: another
    training folder and the share of its weights in the generator's (between a model and what it was tuned from lie models
    of both: Wortsman et al. 2022). Raises ValueError for a share outside 0..1.
    """
    generator = load_file(averaged(stage1))
    if blend is not None:
        generator = blended(generator, load_file(averaged(blend[0])), blend[1])
    parts = {"light_decoder": load_file(averaged(light)), VARIED: generator}
    parts["codec"] = dict(load_codec(codec).state_dict())
    recipes = {"codec": codec, "light_decoder": light, VARIED: stage1}
    for name, folder in (variants or {}).items():
        # From unrounded weights: what rounding to 16 bits adds has no leading directions.
        parts[f"{VARIED}-{name}"] = difference(generator, load_file(averaged(folder)), VARIANT_RANK)
        recipes[f"{VARIED}-{name}"] = folder
    records = {name: _record(folder) for name, folder in recipes.items()}
    if blend is not None:
        records[VARIED] |= {"blend": {**_record(blend[0]), "share": blend[1]}}
    write_weights(weights, "nano", parts, records)


def blended(weights: dict[str, Tensor], others: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """`share` of the others' weights and the rest of the first's; integers are the first's."""
    if not 0 <= share <= 1:
        raise ValueError(f"a blend has a share between 0 and 1, not {share:g}")
    if weights.keys() != others.keys():
        raise ValueError(f"no blend of different networks: {sorted(weights.keys() ^ others.keys())[:3]} are in one only")
    return {
        name: torch.lerp(value, others[name].to(value.dtype), share) if value.is_floating_point() else value
        for name, value in weights.items()
    }


def export_adapter(folder: Path, file: Path) -> None:
    """The averaged adapter of a 14B run to one file with the published file's names; raises ValueError for other runs."""
    adapter = load_file(averaged(folder))
    if not all(name.endswith((".down", ".up")) for name in adapter):
        raise ValueError(f"{folder} holds whole weights, not an adapter; use the verb `export`")
    save_file(peft_names(adapter), file)


def _record(folder: Path) -> dict[str, object]:
    """Recipe, steps done and the held-out figures of a training folder, or of one of its `averages/`."""
    chosen = None
    if folder.is_file():
        folder, chosen = folder.parent.parent, int(folder.stem.removeprefix("step-"))
    found = checkpoint.latest(folder)
    if found is None:
        return {"recipe": "linear code only", "held_out": None}
    state = json.loads((found / "state.json").read_text())
    state["step"] = state["step"] if chosen is None else chosen
    lines = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    held_out = [line["held_out"] for line in lines if "held_out" in line and line["step"] <= state["step"]]
    return {**state, "held_out": held_out[-1] if held_out else None}
