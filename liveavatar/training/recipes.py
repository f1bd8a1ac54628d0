"""What is trained and how long, as frozen dataclasses; the nano recipes are the functions below."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


def _allowed(name: str, given: str, *values: str) -> None:
    """Raise ValueError unless `given` is one of the values."""
    if given not in values:
        raise ValueError(f"{name}={given!r}: allowed are {', '.join(map(repr, values))}")


@dataclass(frozen=True)
class ForcingOptions:
    """Choices of stage 1 (block-wise diffusion forcing).

    equal_level_prob: share of clips whose blocks all have one level, which is what streaming sees.
    rollout_level_prob: share of those whose level is one of the rollout's own, which a few-step student meets always.
    soft_level: the loss counts errors of the clean estimate by 1 / max(level, this)^2 (above it: velocity errors).
    audio_drop, text_drop: conditions dropped, so that the many-step model can be guided. The sink is never dropped.
    sink_distance: range of latent frames between the clip's last frame and the sink (Rolling RoPE's range).
    own_latent_sink: share of clips whose sink is a 4-frame code of the clip itself, as AAS makes it.
    attention: "blocks" (causal, a window of past blocks and the sink) or "full" (the teacher: everyone sees everyone).
    """

    equal_level_prob: float = 0.75
    rollout_level_prob: float = 0.7
    soft_level: float = 0.5
    audio_drop: float = 0.1
    text_drop: float = 0.1
    sink_distance: tuple[int, int] = (4, 30)
    own_latent_sink: float = 0.25
    window_past: int = 3
    mouth_weight: float = 5.0
    attention: str = "blocks"

    def __post_init__(self) -> None:
        _allowed("attention", self.attention, "blocks", "full")


@dataclass(frozen=True)
class SelfForcingOptions:
    """How the student's clips are made in stage 2 (paper, Algorithms 1 and 2).

    form: "parallel" (default: all blocks of a level in one masked evaluation), "sequential" (Algorithm 1) or "blockwise"
        (Algorithm 2); one result, other memory and speed.
    history: what a block looks back on. "per_level": noisy blocks of its own level (History Corrupt, as the stream has
        it). "exit_level": those of the exit level at every level (Algorithm 1 to the letter). "clean": finished blocks,
        by a further evaluation each (without History Corrupt).
    transition: from a clean estimate to the next level by fresh noise ("renoise", paper) or along the velocity ("euler",
        what the stream does).
    history_grad: let gradients through the history (parallel form only; an experiment, not the paper's method).
    """

    form: str = "parallel"
    history: str = "per_level"
    transition: str = "renoise"
    history_grad: bool = False

    def __post_init__(self) -> None:
        _allowed("form", self.form, "parallel", "sequential", "blockwise")
        _allowed("history", self.history, "per_level", "exit_level", "clean")
        _allowed("transition", self.transition, "renoise", "euler")
        if self.form == "parallel" and self.history != "per_level":
            raise ValueError(
                f"history={self.history!r} needs each block finished before the next, which form='parallel' is not; "
                "set form='sequential' or 'blockwise'"
            )
        if self.history_grad and self.form != "parallel":
            raise ValueError(f"history_grad needs form='parallel', not {self.form!r}: caches are constants")


@dataclass(frozen=True)
class DistillOptions:
    """Choices of stage 2 (self-forcing distribution matching).

    guidance: of the real score, over voice and text together; 1 is none. The reference is never dropped.
    score_shift, score_range: levels at which clips are scored, one per clip: uniform, shifted (0: as the rollout's), kept
        in the range.
    floor: of the normaliser of a clip's gradient.
    weighted: the student's gradient counts channels and places as stage 1's loss does. Where it vanishes stays the same.
    clips: how sinks, their distance and loudness are drawn; nothing is dropped.
    """

    self_forcing: SelfForcingOptions = field(default_factory=SelfForcingOptions)
    guidance: float = 1.0
    score_shift: float = 0.0
    score_range: tuple[float, float] = (0.02, 0.98)
    floor: float = 1e-3
    weighted: bool = True
    clips: ForcingOptions = field(default_factory=lambda: ForcingOptions(audio_drop=0.0, text_drop=0.0))

    def __post_init__(self) -> None:
        low, high = self.score_range
        if not 0 < low < high <= 1:
            raise ValueError(f"score_range={self.score_range}: give (lowest, highest) inside 0..1, the lowest above 0")
        if self.clips.audio_drop or self.clips.text_drop:
            raise ValueError("stage 2 drops no conditions of the student; set audio_drop and text_drop of `clips` to 0")


@dataclass(frozen=True)
class Recipe:
    """Optimisation of one stage: warm-up, then cosine to `final_rate`; gradient clipping; EMA of the weights.

    optimiser: "adamw", or "muon" for matrices with AdamW for the rest.
    compiled: compile the blocks of the stage's transformers (nano; needs a C++ compiler).
    critic_rate: of the networks beside the product (stage 2's fake score), on the product's schedule.
    product_every, critic_first: the product is updated at every so-manieth step, after so many without it; a step always
        updates the others. `steps` counts all steps.
    options: the stage's own choices.
    profile: "nano", or "s2v-14b", whose base weights and features come from files.
    lora_rank, lora_alpha: train adapters of this rank on the frozen base, added times alpha / rank; 0: train all weights.
    is_sharded: spread weights, gradients and optimiser state over the processes (FSDP2). is_checkpointed: keep only the
        blocks' inputs for the backward pass.
    keeps_averages: write the averaged weights of every evaluation to `averages/`, to choose among them afterwards.
    accumulate: micro-batches whose gradients make one update; `batch` counts all of them.
    """

    stage: str
    steps: int
    batch: int
    rate: float
    final_rate: float = 1e-5
    warmup: int = 100
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    optimiser: str = "adamw"
    compiled: bool = False
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    bf16: bool = True
    checkpoint_minutes: float = 3.0
    log_every: int = 20
    evaluate_every: int = 500
    critic_rate: float = 0.0
    product_every: int = 1
    critic_first: int = 0
    options: ForcingOptions | DistillOptions | None = None
    profile: str = "nano"
    lora_rank: int = 0
    lora_alpha: float = 64.0
    is_sharded: bool = False
    is_checkpointed: bool = False
    accumulate: int = 1
    keeps_averages: bool = False


def nano_codec() -> Recipe:
    """Stage 0 of nano: the causal VAE on short crops."""
    return Recipe("codec", steps=1000, batch=8, rate=3e-3, final_rate=5e-5, warmup=50, ema=0.99, weight_decay=0.0)


def nano_light() -> Recipe:
    """The light streaming decoder on frozen latents."""
    return Recipe("light", steps=1300, batch=4, rate=2e-3, final_rate=5e-5, ema=0.995, weight_decay=0.0)


def nano_voice() -> Recipe:
    """The audio encoder on the world's true mouth shapes."""
    return Recipe("voice", steps=1500, batch=32, rate=2e-3, final_rate=2e-5, ema=0.99, optimiser="muon")


def nano_stage1() -> Recipe:
    """Stage 1 of nano: block-wise diffusion forcing from scratch."""
    return Recipe(
        "stage1", steps=3300, batch=6, rate=2e-3, final_rate=2e-5, warmup=60, ema=0.997, optimiser="muon", evaluate_every=250
    )


def nano_teacher() -> Recipe:
    """The bidirectional teacher of nano: stage 1's weights, tuned a short time without a mask and with one level a clip."""
    options = ForcingOptions(attention="full", equal_level_prob=1.0, rollout_level_prob=0.0)
    return Recipe(
        "teacher", steps=500, batch=6, rate=4e-4, final_rate=2e-5, warmup=30, ema=0.99, optimiser="muon",
        evaluate_every=250, options=options,
    )  # fmt: skip


def nano_stage2() -> Recipe:
    """Stage 2 of nano: self-forcing distillation with History Corrupt, in the parallel form, moving as the stream does."""
    return Recipe(
        "stage2", steps=1100, batch=8, rate=5e-5, final_rate=1e-5, critic_rate=1e-4, warmup=20, betas=(0.0, 0.999),
        weight_decay=0.0, ema=0.99, product_every=5, critic_first=50, evaluate_every=100, log_every=10, keeps_averages=True,
        options=DistillOptions(SelfForcingOptions(transition="euler"), guidance=1.5, score_range=(0.05, 0.98)),
    )  # fmt: skip


def nano_stage2_clean() -> Recipe:
    """Stage 2 without History Corrupt: blocks look back on finished blocks, made by a further evaluation each.

    Its student serves the row without History Corrupt (streamed as usual) and the clean-KV row (`cache="clean"`).
    """
    recipe = nano_stage2()
    assert isinstance(recipe.options, DistillOptions)
    forcing = replace(recipe.options.self_forcing, form="sequential", history="clean")
    return replace(recipe, options=replace(recipe.options, self_forcing=forcing))


PAPER_FORCING = ForcingOptions(
    equal_level_prob=0.25, rollout_level_prob=0.0, soft_level=1e-6, audio_drop=0.15, text_drop=0.1, own_latent_sink=0.2,
    mouth_weight=0.0,
)  # fmt: skip


def s2v_14b_stage1() -> Recipe:
    """Stage 1 at 14B with the paper's values: 25,000 steps of 128 clips at 1e-5, LoRA of rank 128 and alpha 64.

    Clips are 84 frames of 720x400, blocks 3 latent frames, the window 4 blocks with the current one. What the paper
    leaves open (dropping, warm-up, averaging) is ours; the released configuration drops voices as often.
    """
    return Recipe(
        "stage1", steps=25_000, batch=128, rate=1e-5, final_rate=1e-5, warmup=500, betas=(0.9, 0.999), weight_decay=0.0,
        ema=0.999, checkpoint_minutes=30.0, evaluate_every=500, options=PAPER_FORCING, profile="s2v-14b", lora_rank=128,
        lora_alpha=64.0, is_sharded=True, is_checkpointed=True,
    )  # fmt: skip


def s2v_14b_stage2() -> Recipe:
    """Stage 2 at 14B with the paper's values: 2,500 steps, 1e-5 for the student and 2e-6 for the fake score.

    A step updates the fake score, every fifth the student as well: five to one is the field's ratio, the paper has none.
    Guidance 4.5 is the base model's own.
    """
    return Recipe(
        "stage2", steps=2500, batch=128, rate=1e-5, final_rate=1e-5, critic_rate=2e-6, warmup=0, betas=(0.0, 0.999),
        weight_decay=0.0, clip=10.0, ema=0.99, product_every=5, checkpoint_minutes=30.0, evaluate_every=250,
        keeps_averages=True,
        options=DistillOptions(
            guidance=4.5, weighted=False, clips=replace(PAPER_FORCING, audio_drop=0.0, text_drop=0.0)
        ),
        profile="s2v-14b", lora_rank=128, lora_alpha=64.0, is_sharded=True, is_checkpointed=True,
    )  # fmt: skip


def s2v_14b_stage2_clean() -> Recipe:
    """Stage 2 at 14B without History Corrupt, by Algorithm 2, whose memory is one block's."""
    recipe = s2v_14b_stage2()
    assert isinstance(recipe.options, DistillOptions)
    forcing = SelfForcingOptions(form="blockwise", history="clean")
    return replace(recipe, options=replace(recipe.options, self_forcing=forcing))


RECIPES = {
    "nano_codec": nano_codec,
    "nano_light": nano_light,
    "nano_voice": nano_voice,
    "nano_stage1": nano_stage1,
    "nano_teacher": nano_teacher,
    "nano_stage2": nano_stage2,
    "nano_stage2_clean": nano_stage2_clean,
    "s2v_14b_stage1": s2v_14b_stage1,
    "s2v_14b_stage2": s2v_14b_stage2,
    "s2v_14b_stage2_clean": s2v_14b_stage2_clean,
}


def recipe_named(name: str) -> Recipe:
    """The named recipe; raises ValueError naming those that exist."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; available: {', '.join(RECIPES)}")
    return RECIPES[name]()
