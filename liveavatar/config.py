"""What a model, a codec and a rollout are made of: frozen dataclasses, validated here, built by named functions.

Not here: weights, devices, files. `nano()` is the profile that runs on a laptop; `s2v_14b()` has the official sizes:
another call of the same classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FRAMES_PER_LATENT = 4  # the codec's temporal factor: one latent frame codes 4 frames


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of the S2V transformer. Names follow the official `config.json`.

    motion: how frames before the clip become tokens beside the reference. "none" (nano), "packed": three convolutions,
    coarser for older frames (official), "plain": every motion latent through the patch embedding.
    motion_latents: how many motion latents are looked at; fewer are padded in front with zeros.
    cond_dim: channels of latents added to the noisy tokens of the same place (`cond_encoder`); 0 = none.
    cond_source: what those latents are. "pose": a pose video, zeros where there is none (official). "sink": the sink's
    latent (nano: a small model need not search the sink for every place).
    voice_in_time: the pooled voice of a latent frame is added to its time embedding and so modulates every layer (nano:
    a small model hears in a fraction of the steps that audio attention alone takes).
    predicts: what the head's output means. "velocity" (official), or "residual": what the clean latents have beyond the
    sink's latent (nano; `SinkResidual` turns it into a velocity).
    """

    dim: int
    ffn_dim: int
    num_layers: int
    num_heads: int
    in_dim: int = 16
    out_dim: int = 16
    patch_size: tuple[int, int, int] = (1, 2, 2)
    freq_dim: int = 256
    text_dim: int = 4096
    text_len: int = 512
    audio_dim: int = 1024
    audio_layers: int = 25
    num_audio_token: int = 4
    motion: str = "none"
    motion_latents: int = 19
    cond_dim: int = 16
    cond_source: str = "pose"
    voice_in_time: bool = False
    predicts: str = "velocity"
    audio_inject_layers: tuple[int, ...] = (0, 4, 8, 12, 16, 20, 24, 27, 30, 33, 36, 39)
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.dim % self.num_heads or (self.dim // self.num_heads) % 2:
            raise ValueError(f"dim {self.dim} over {self.num_heads} heads gives no even head width; change either")
        if self.dim % self.num_audio_token:
            raise ValueError(f"dim {self.dim} must be a multiple of num_audio_token {self.num_audio_token}")
        if max(self.audio_inject_layers, default=-1) >= self.num_layers:
            raise ValueError(f"audio_inject_layers {self.audio_inject_layers} exceed {self.num_layers} layers")
        _allowed("motion", self.motion, "none", "packed", "plain")
        _allowed("cond_source", self.cond_source, "pose", "sink")
        _allowed("predicts", self.predicts, "velocity", "residual")
        if self.motion == "packed" and self.motion_latents < 4:
            raise ValueError(
                f"motion_latents={self.motion_latents}: packing needs 1 + 2 of them and older ones; give 4 or more"
            )
        if self.predicts == "residual" and not self.cond_dim == self.in_dim == self.out_dim:
            raise ValueError(
                f"predicts='residual' subtracts the sink's latent, so cond_dim {self.cond_dim}, in_dim {self.in_dim} and "
                f"out_dim {self.out_dim} must be equal"
            )

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads


@dataclass(frozen=True)
class CodecConfig:
    """Sizes of the Wan-type causal VAE (diffusers' `AutoencoderKLWan`) and of the light streaming decoder.

    linear_skip: the VAE refines a fixed linear code of 8x8x4-pixel patches instead of learning everything (nano: a CPU
    reaches in minutes what the plain VAE needs hours for). The official codec has none.
    """

    z_dim: int = 48
    base_dim: int = 16
    dim_mult: tuple[int, ...] = (1, 2, 2)
    is_residual: bool = True
    linear_skip: bool = True
    num_res_blocks: int = 1
    temporal_downsample: tuple[bool, ...] = (True, True)
    pixel_patch: int = 2
    spatial_factor: int = 8
    light_width: int = 96
    light_mid_width: int = 64
    light_fine_width: int = 48


@dataclass(frozen=True)
class AudioConfig:
    """The nano voice front end: log-mel columns at 100 Hz, grouped by video frame, with a fixed look-ahead."""

    sample_rate: int = 16_000
    mel_bins: int = 80
    window_samples: int = 400
    hop_samples: int = 160
    look_ahead_frames: int = 2


@dataclass(frozen=True)
class RolloutOptions:
    """Every variant of the one rollout (paper section 4.4, Tables 4 and 6): ablations are values, not copies.

    Field defaults are nano's; `released_rollout()` and `paper_rollout()` name the two published behaviours. Where they
    differ, and why, stands in docs/paper-vs-code.md.

    steps: Euler steps per block (NFE without guidance).
    grid: noise levels of the steps. "uniform": evenly spaced (paper, dt = -1/T). "shifted": those, shifted once.
        "release": as diffusers' flow-match Euler scheduler spaces them. "release3": the release's levels of one step more,
        without the last, which hardly moves the latents.
    cache: "timestep" = one rolling cache per level, as in timestep-forcing; "clean" = one cache of finished blocks,
        written by an extra evaluation per block (Table 6, cannot be pipelined).
    window_past: past blocks that a block attends to besides itself. The release's ring of 4 counts the current one: 3.
    aas: Adaptive Attention Sink: the sink becomes the model's own first latent frame,
    aas_after_blocks: once this many blocks are finished.
    rolling_rope: the sink moves with the current block; off: it stays at its first position.
    sink_position: where the rolling sink is, in latent frames. "distance": `sink_distance` after the block's newest frame.
        "release": `sink_random` after the block's first frame, drawn anew for every evaluation, but never before 30.
    motion_position: motion tokens lie just before the stream's start for ever ("fixed", release) or move on with the
        block ("rolling").
    positions: "bounded": time starts anew every few thousand blocks and cached keys are turned with it; "absolute": it
        does not. The same function; bounded angles never lose precision.
    rope_factors: "exact", or "half": cosines and sines rounded to float16, as the release does.
    noise: drawn per "block", or per "clip" of `clip_blocks` blocks from seed + clip (release).
    first_block: "whole" = 12 frames; "release" drops the first 3 of a stream.
    """

    steps: int = 4
    grid: str = "shifted"
    shift: float = 3.0
    cache: str = "timestep"
    window_past: int = 3
    aas: bool = True
    aas_after_blocks: int = 1
    rolling_rope: bool = True
    sink_position: str = "distance"
    sink_distance: int = 9
    sink_random: tuple[int, int] = (4, 30)
    motion_position: str = "fixed"
    positions: str = "bounded"
    rope_factors: str = "exact"
    noise: str = "block"
    clip_blocks: int = 4
    first_block: str = "whole"
    decoder: str = "light"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: a block needs at least 1 step")
        _allowed("grid", self.grid, "uniform", "shifted", "release", "release3")
        _allowed("cache", self.cache, "timestep", "clean")
        _allowed("sink_position", self.sink_position, "distance", "release")
        _allowed("motion_position", self.motion_position, "fixed", "rolling")
        _allowed("positions", self.positions, "bounded", "absolute")
        _allowed("rope_factors", self.rope_factors, "exact", "half")
        _allowed("noise", self.noise, "block", "clip")
        _allowed("first_block", self.first_block, "whole", "release")
        _allowed("decoder", self.decoder, "light", "vae")
        if self.window_past < 0:
            raise ValueError(f"window_past={self.window_past}: must be 0 or more")
        if self.grid == "release3" and self.steps != 3:
            raise ValueError(f"grid='release3' has 3 steps, not {self.steps}; set steps=3, or grid='release'")
        for name in ("aas_after_blocks", "clip_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be 1 or more")
        if self.sink_random[0] > self.sink_random[1]:
            raise ValueError(f"sink_random={self.sink_random}: give (smallest, largest)")
        if self.rope_factors == "half" and self.positions == "bounded":
            raise ValueError("rope_factors='half' rounds absolute positions; set positions='absolute' with it")


def released_rollout() -> RolloutOptions:
    """What the released inference code does, and so what the official weights are run with."""
    return RolloutOptions(grid="release", aas_after_blocks=4, sink_position="release", decoder="vae")


def paper_rollout() -> RolloutOptions:
    """Algorithm 3 as printed: even time steps, four past blocks, the sink switched after the first block."""
    return RolloutOptions(grid="uniform", window_past=4)


@dataclass(frozen=True)
class ProfileConfig:
    """A whole system: sizes, picture, playback rate."""

    name: str
    transformer: TransformerConfig
    codec: CodecConfig
    audio: AudioConfig = field(default_factory=AudioConfig)
    rollout: RolloutOptions = field(default_factory=RolloutOptions)
    height: int = 128
    width: int = 96
    fps: int = 25
    block_latents: int = 3

    @property
    def block_frames(self) -> int:
        """Video frames per block."""
        return self.block_latents * FRAMES_PER_LATENT

    @property
    def sample_rate(self) -> int:
        """Audio samples per second."""
        return self.audio.sample_rate

    @property
    def samples_per_frame(self) -> int:
        """Audio samples that belong to one video frame."""
        return self.audio.sample_rate // self.fps

    @property
    def latent_size(self) -> tuple[int, int]:
        """Height and width of a latent frame."""
        return self.height // self.codec.spatial_factor, self.width // self.codec.spatial_factor


def nano() -> ProfileConfig:
    """The profile that runs on two CPU cores: about 6 M parameters, 96x128 px, 25 fps, our own weights."""
    audio = AudioConfig()
    columns_per_frame = audio.sample_rate // 25 // audio.hop_samples
    return ProfileConfig(
        name="nano",
        transformer=TransformerConfig(
            dim=192,
            ffn_dim=768,
            num_layers=8,
            num_heads=4,
            freq_dim=128,
            text_dim=64,
            text_len=16,
            in_dim=48,
            out_dim=48,
            cond_dim=48,
            cond_source="sink",
            voice_in_time=True,
            predicts="residual",
            audio_dim=audio.mel_bins * columns_per_frame,
            audio_layers=1,
            audio_inject_layers=(0, 2, 4, 6),
        ),
        codec=CodecConfig(),
        audio=audio,
        # Beyond the sink, latents spread about a quarter of the noise's unit, so levels sit lower than for whole latents.
        rollout=RolloutOptions(shift=0.5),
    )


def s2v_14b() -> ProfileConfig:
    """The official sizes, Wan2.2-S2V-14B with Live Avatar's rollout: 16.3 G parameters, 704x384 px, 25 fps.

    Not in `PROFILES`: its weights are not shipped; they come from a folder that the user downloaded.
    """
    return ProfileConfig(
        name="s2v-14b",
        transformer=TransformerConfig(dim=5120, ffn_dim=13_824, num_layers=40, num_heads=40, motion="packed"),
        codec=CodecConfig(
            z_dim=16,
            base_dim=96,
            dim_mult=(1, 2, 4, 4),
            is_residual=False,
            linear_skip=False,
            num_res_blocks=2,
            temporal_downsample=(False, True, True),
            pixel_patch=1,
        ),
        rollout=released_rollout(),
        height=384,
        width=704,
    )


def official_transformer(values: Mapping[str, object]) -> TransformerConfig:
    """The transformer that an official S2V `config.json` describes; what the file leaves out has the official default.

    Raises ValueError for switches whose other setting is not implemented, naming the switch.
    """
    expected = {
        "model_type": "s2v", "zero_timestep": True, "enable_adain": True, "adain_mode": "attn_norm", "enable_tsm": False,
        "enable_motioner": False, "trainable_token_pos_emb": False, "add_last_motion": True,
    }  # fmt: skip
    for name, wanted in expected.items():
        if values.get(name, wanted) != wanted:
            raise ValueError(f"config.json has {name}={values[name]!r}; only {wanted!r} is implemented")
    missing = [name for name in ("dim", "ffn_dim", "num_layers", "num_heads", "audio_inject_layers") if name not in values]
    if missing:
        raise ValueError(f"config.json lacks {', '.join(missing)}; give the file of an S2V transformer")
    known = {name: values[name] for name in TransformerConfig.__dataclass_fields__ if name in values}
    known |= {name: tuple(known[name]) for name in ("patch_size", "audio_inject_layers") if name in known}  # type: ignore[arg-type]
    return TransformerConfig(**known, motion="packed" if values.get("enable_framepack") else "plain")  # type: ignore[arg-type]


PROFILES = {"nano": nano}


def profile(name: str) -> ProfileConfig:
    """The named profile; raises ValueError naming those that exist."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; available: {', '.join(PROFILES)}")
    return PROFILES[name]()


def _allowed(name: str, given: str, *values: str) -> None:
    """Raise ValueError unless `given` is one of the values."""
    if given not in values:
        raise ValueError(f"{name}={given!r}: allowed are {' and '.join(map(repr, values))}")
