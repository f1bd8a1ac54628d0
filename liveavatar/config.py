"""What a model, a codec and a rollout are made of: frozen dataclasses, validated here, built by named functions.

Not here: weights, devices, files. `nano()` is the profile that runs on a laptop; the official sizes are another call of
the same classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FRAMES_PER_LATENT = 4  # the codec's temporal factor: one latent frame codes 4 frames


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of the S2V transformer. Names follow the official `config.json`.

    cond_dim: channels of latents added to the noisy tokens of the same place (`cond_encoder`); 0 = none. The official
    model gives it pose latents, nano the sink's latent: a small model need not search the sink for every place.
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
    cond_dim: int = 16
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
        if self.predicts not in ("velocity", "residual"):
            raise ValueError(f"predicts={self.predicts!r}: allowed are 'velocity' and 'residual'")
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

    steps: Euler steps per block (NFE without guidance).
    cache: "timestep" = one rolling cache per level, as in timestep-forcing; "clean" = one cache of finished blocks,
        written by an extra evaluation per block (Table 6, cannot be pipelined).
    aas: Adaptive Attention Sink: after the first block the sink becomes the model's own first latent frame.
    rolling_rope: keep the sink's distance to the current block fixed; off: the sink stays at its first position.
    sink_distance: latent frames between the newest position and the sink (Rolling RoPE's controllable shift).
    window_past: past blocks that a block attends to.
    """

    steps: int = 4
    cache: str = "timestep"
    aas: bool = True
    rolling_rope: bool = True
    sink_distance: int = 9
    window_past: int = 3
    shift: float = 3.0
    decoder: str = "light"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: a block needs at least 1 step")
        if self.cache not in ("timestep", "clean"):
            raise ValueError(f"cache={self.cache!r}: allowed are 'timestep' and 'clean'")
        if self.decoder not in ("light", "vae"):
            raise ValueError(f"decoder={self.decoder!r}: allowed are 'light' and 'vae'")
        if self.window_past < 0:
            raise ValueError(f"window_past={self.window_past}: must be 0 or more")


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


PROFILES = {"nano": nano}


def profile(name: str) -> ProfileConfig:
    """The named profile; raises ValueError naming those that exist."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; available: {', '.join(PROFILES)}")
    return PROFILES[name]()
