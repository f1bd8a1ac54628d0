"""What a model, a codec and a rollout are made of: frozen dataclasses, validated here, built by named functions.

Not here: weights, devices, files. `nano()` is the profile that runs on a laptop; `s2v_14b()` has the official sizes:
another call of the same classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

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
    """The nano voice front end: log-mel columns at 100 Hz, grouped by video frame, with a fixed look-ahead.

    encoder_width: of the states that `SpeechEncoder` makes of them, the features that the transformer gets.
    """

    sample_rate: int = 16_000
    mel_bins: int = 80
    window_samples: int = 400
    hop_samples: int = 160
    look_ahead_frames: int = 2
    encoder_width: int = 96


_ROLLOUT_VALUES: dict[str, tuple[str, ...]] = {
    "grid": ("uniform", "shifted", "release", "release3"),
    "cache": ("timestep", "clean"),
    "aas_content": ("latent", "recoded"),
    "aas_switch": ("block", "in_flight"),
    "prefill": ("shared", "each_step"),
    "sink_position": ("distance", "release"),
    "motion": ("none", "still"),
    "motion_position": ("fixed", "rolling"),
    "reference": ("alone", "repeated"),
    "text_keys": ("cached", "each_call"),
    "audio_history": ("previous", "repeat"),
    "positions": ("bounded", "absolute"),
    "rope_factors": ("exact", "half"),
    "noise": ("block", "clip"),
    "first_block": ("whole", "release", "short"),
    "decoder": ("light", "vae"),
    "prime": ("reference", "still"),
    "decode": ("block", "end"),
    "audio_context": ("window", "file", "clip"),
}


@dataclass(frozen=True)
class SpeechConfig:
    """The official voice front end: wav2vec2 over a rolling window. Its network's sizes are in its own `config.json`.

    window_frames: video frames of sound that the encoder sees for a block, the look-ahead included.
    look_ahead_frames: sound after a block's own that the block waits for.
    """

    sample_rate: int = 16_000
    window_frames: int = 250
    look_ahead_frames: int = 5

    def __post_init__(self) -> None:
        if self.look_ahead_frames < 1:
            raise ValueError(f"look_ahead_frames={self.look_ahead_frames}: a block's last row needs at least 1")
        if self.window_frames < self.look_ahead_frames + 24:
            raise ValueError(
                f"window_frames={self.window_frames}: give at least two blocks and the look-ahead, "
                f"{self.look_ahead_frames + 24}"
            )


@dataclass(frozen=True)
class RolloutOptions:
    """Every variant of the one rollout (paper section 4.4, Tables 4 and 6): ablations are values, not copies.

    Field defaults are nano's; `released_rollout()` and `paper_rollout()` name the two published behaviours. Where they
    differ, and why, stands in docs/paper-vs-code.md.

    steps: Euler steps per block (NFE without guidance).
    grid: noise levels of the steps. "uniform": evenly spaced (paper, dt = -1/T). "shifted": those, shifted once.
        "release": as diffusers' flow-match Euler scheduler spaces them. "release3": the release's levels of one step more,
        without the last, which hardly moves the latents.
    guidance: how far the velocity is led away from what the model does without voice and with a negative prompt; 1: not at
        all. Any other value doubles the evaluations.
    cache: "timestep" = one rolling cache per level, as in timestep-forcing; "clean" = one cache of finished blocks,
        written by an extra evaluation per block (Table 6, cannot be pipelined).
    window_past: past blocks that a block attends to besides itself. The release's ring of 4 counts the current one: 3.
    history_noise: noise added to keys and values of past blocks, in units of their own size ("History Corrupt" taken
        literally). 0: none but that of the level at which they were written, as the release does.
    aas: Adaptive Attention Sink: the sink becomes the model's own first latent frame,
    aas_after_blocks: once this many blocks are finished.
    aas_content: what the new sink is. "latent": the first latent frame as it is (release). "recoded": the first frame,
        decoded and coded alone (paper, section 4.4).
    aas_switch: when steps take the new sink. "block": all at the same block. "in_flight": each as soon as a pipeline with
        one step per device has it, while blocks are on their way; nothing waits (see `streaming.sink.switch_block`).
    prefill: the sink's own evaluation, "shared" by all steps, or done for "each_step" (release: on every device).
    rolling_rope: the sink moves with the current block; off: it stays at its first position.
    sink_position: where the rolling sink is, in latent frames. "distance": `sink_distance` after the block's newest frame.
        "release": `sink_random` after the block's first frame, drawn anew for every evaluation, but never before 30.
    motion: latents before the stream, beside the sink. "still": the picture as a still video of `still_frames` frames
        (release; needs a model with motion tokens). "none": no such tokens (paper).
    motion_position: motion tokens lie just before the stream's start for ever ("fixed", release) or move on with the
        block ("rolling").
    reference: how the picture becomes the sink. "alone": coded as a first frame. "repeated": five times, of which the
        second latent counts (the release's scripts for one device and for live sound).
    text_keys: the prompt's keys and values, "cached" once per prompt, or made anew in "each_call" (release).
    audio_history: rows before a block's own that its audio encoder sees: the "previous" ones, or the block's first row
        over and over ("repeat": release, and what its weights were trained with).
    positions: "bounded": time starts anew every few thousand blocks and cached keys are turned with it; "absolute": it
        does not. The same function; bounded angles never lose precision.
    rope_factors: "exact", or "half": cosines and sines rounded to float16, as the release does.
    noise: drawn per "block", or per "clip" of `clip_blocks` blocks from seed + clip (release).
    first_block: "whole" = 12 frames; "release" drops the first 3 of a stream; "short" = one latent frame, 4 frames: it waits
        for a third of the sound and costs a third of the work, so a stream's first frame comes sooner.
    decoder: the "light" streaming decoder, or the "vae"'s own.
    prime: what the decoder has seen before the stream: the "reference" latent, or 7 of the "still" picture (release).
    decode: after every "block", or clip by clip at the "end", each clip behind the coded frames before it (the release on
        one device; memory grows with the stream).
    audio_context: the sound that a block's voice is made from (wav2vec2 only). "window": a rolling window, the same in
        streams and files. "file": all of it, so nothing comes before the sound has ended (the release, from files).
        "clip": each clip of `clip_blocks` blocks alone (the release, when streaming).
    """

    steps: int = 4
    grid: str = "shifted"
    shift: float = 3.0
    guidance: float = 1.0
    cache: str = "timestep"
    window_past: int = 3
    history_noise: float = 0.0
    aas: bool = True
    aas_after_blocks: int = 1
    aas_content: str = "latent"
    aas_switch: str = "block"
    prefill: str = "shared"
    rolling_rope: bool = True
    sink_position: str = "distance"
    sink_distance: int = 9
    sink_random: tuple[int, int] = (4, 30)
    motion: str = "none"
    still_frames: int = 73
    motion_position: str = "fixed"
    reference: str = "alone"
    text_keys: str = "cached"
    audio_history: str = "previous"
    positions: str = "bounded"
    rope_factors: str = "exact"
    noise: str = "block"
    clip_blocks: int = 4
    first_block: str = "whole"
    decoder: str = "light"
    prime: str = "reference"
    decode: str = "block"
    audio_context: str = "window"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: a block needs at least 1 step")
        for name, values in _ROLLOUT_VALUES.items():
            _allowed(name, getattr(self, name), *values)
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
        if self.history_noise < 0:
            raise ValueError(f"history_noise={self.history_noise}: must be 0 or more")
        if self.still_frames < 1 or (self.still_frames - 1) % FRAMES_PER_LATENT:
            raise ValueError(
                f"still_frames={self.still_frames}: the codec takes 1 + 4k frames; give 73, as released, or 365"
            )
        if self.decode == "end" and self.decoder != "vae":
            raise ValueError("decode='end' decodes whole clips, which the light decoder does not; set decoder='vae' with it")
        if self.decode == "end" and self.first_block != "whole":
            raise ValueError(
                f"first_block={self.first_block!r} belongs to a stream; with decode='end' set first_block='whole'"
            )

    @property
    def evaluations(self) -> int:
        """Model evaluations per block (NFE): steps, the clean pass where there is one, each twice with guidance."""
        return (self.steps + (self.cache == "clean")) * (1 if self.guidance == 1 else 2)


def released_rollout() -> RolloutOptions:
    """What official weights are run with: the released code's function, less what it computes twice.

    Where the release would break a promise of ours (frames that fill whole blocks, noise that depends on the block alone,
    streams without end) the promise is kept; `released_rollout_exactly` breaks it.
    """
    return RolloutOptions(
        grid="release",
        aas_after_blocks=4,
        sink_position="release",
        motion="still",
        audio_history="repeat",
        decoder="vae",
        prime="still",
    )


def released_rollout_exactly() -> RolloutOptions:
    """The released pipeline of five devices in every choice that has a name here; for comparison only."""
    return replace(
        released_rollout(),
        prefill="each_step",
        text_keys="each_call",
        positions="absolute",
        rope_factors="half",
        noise="clip",
        first_block="release",
    )


def released_single_device() -> RolloutOptions:
    """The released script for one device: no AAS, the second latent of a repeated picture, decoding after the run."""
    return replace(
        released_rollout_exactly(), aas=False, reference="repeated", still_frames=365, first_block="whole", decode="end"
    )


def paper_rollout() -> RolloutOptions:
    """Algorithm 3 as printed: even time steps, four past blocks, the sink switched after the first block.

    Its content is the first frame, decoded and coded (section 4.4); there are no motion tokens.
    """
    return RolloutOptions(grid="uniform", window_past=4, aas_content="recoded", decoder="vae")


@dataclass(frozen=True)
class ProfileConfig:
    """A whole system: sizes, picture, playback rate."""

    name: str
    transformer: TransformerConfig
    codec: CodecConfig
    audio: AudioConfig | SpeechConfig = field(default_factory=AudioConfig)
    rollout: RolloutOptions = field(default_factory=RolloutOptions)
    height: int = 128
    width: int = 96
    fps: int = 25
    block_latents: int = 3

    def __post_init__(self) -> None:
        _, rows, columns = (self.codec.spatial_factor * patch for patch in self.transformer.patch_size)
        for name, side, multiple in (("height", self.height, rows), ("width", self.width, columns)):
            if side < 1 or side % multiple:
                raise ValueError(f"{name}={side}: give a multiple of {multiple}")

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
            audio_dim=audio.encoder_width,
            audio_layers=1,
            audio_inject_layers=(0, 2, 4, 6),
        ),
        codec=CodecConfig(),
        audio=audio,
        # Beyond the sink, latents spread about a quarter of the noise's unit, so levels sit lower than for whole latents.
        rollout=RolloutOptions(shift=0.5),
    )


S2V_SIZES = {"release": (384, 704), "paper": (400, 720)}  # height, width


def s2v_14b(size: str = "release") -> ProfileConfig:
    """The official sizes, Wan2.2-S2V-14B with Live Avatar's rollout: 16.3 G parameters, 25 fps.

    size: "release", 704x384 px, what the released code makes of a 16:9 picture when asked for 720x400 (`sizes.py` has its
    rule for any picture); "paper", 720x400 px.

    Its weights are not shipped; they come from a folder that the user downloaded, and its sizes from that folder's
    `config.json`.
    """
    _allowed("size", size, *S2V_SIZES)
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
        audio=SpeechConfig(),
        rollout=released_rollout(),
        height=S2V_SIZES[size][0],
        width=S2V_SIZES[size][1],
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


PROFILES = {"nano": nano, "s2v-14b": s2v_14b}


def profile(name: str) -> ProfileConfig:
    """The named profile; raises ValueError naming those that exist."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; available: {', '.join(PROFILES)}")
    return PROFILES[name]()


def _allowed(name: str, given: str, *values: str) -> None:
    """Raise ValueError unless `given` is one of the values."""
    if given not in values:
        raise ValueError(f"{name}={given!r}: allowed are {' and '.join(map(repr, values))}")
