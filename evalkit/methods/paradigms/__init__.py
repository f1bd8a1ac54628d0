"""Extension rules of published systems over one nano teacher: our small re-implementations of schemes, never the systems.

What is compared is how a video is made longer: what is fed back, in which form, and where the anchor stands. Sizes,
networks, data and sampler are the same for all; what a system has beyond its rule is named in the row's note as left out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scheme:
    """A member of a family: who published the rule, what it is called, where it is, and what of the original is missing.

    address: of the policy; empty: the system under test itself. tuned: what it needs beside the teacher, by the names of
    the weights' files. official_steps: of the original's sampler. longest_s: see `Method`.
    """

    name: str
    of: str
    rule: str
    address: str = ""
    tuned: tuple[str, ...] = ()
    left_out: str = ""
    official_steps: int = 0
    longest_s: float = 0.0
    longest_reason: str = ""

    @property
    def title(self) -> str:
        """For tables: never the system's name alone."""
        return f"{self.rule} (scheme of {self.of}, nano)" if self.of else f"{self.rule} (nano)"


_HOME = "evalkit.methods.paradigms"

PARADIGMS = {
    scheme.name: scheme
    for scheme in (
        Scheme(
            "ditto",
            "Ditto",
            "Motion space",
            f"{_HOME}.motion_space.policy:MotionSpace",
            ("motion_codec", "motion_diffusion"),
            "face crop, key points and pasting back: the whole picture is warped",
            50,
        ),
        Scheme(
            "echomimic_v2",
            "EchoMimic-V2",
            "Ring windows",
            f"{_HOME}.ring:RingWindows",
            (),
            "reference network and pose template",
            30,
            336 / 24,
            "the scheme needs a pose for every frame, and its longest template has 336 of them (14 s)",
        ),
        Scheme(
            "hallo3",
            "Hallo3",
            "Clip + 2 frames",
            f"{_HOME}.pixel_context:PixelContext",
            ("pixel_context",),
            "reference network and identity vector",
            50,
        ),
        Scheme(
            "stableavatar", "StableAvatar", "Fused windows", f"{_HOME}.fused:FusedWindows", (), "timestep-aware adapter", 50
        ),
        Scheme(
            "omniavatar", "OmniAvatar", "Clamped prefix", f"{_HOME}.clamped:ClampedPrefix", (),
            "reference and mask on channels: noise levels per frame say what is known", 50,
        ),
        Scheme("wan_s2v", "Wan-S2V", "Packed context", f"{_HOME}.packed:PackedContext", ("packed",), "", 40),
        Scheme("infinitetalk", "InfiniteTalk", "Sparse keyframe", f"{_HOME}.keyframe:Keyframe", (), "CLIP feature", 40),
        # Its rule is the system under test: the distilled student of the same data, in its own steps and one branch.
        Scheme("live_avatar", "Live Avatar", "Block-causal, rolling sink", official_steps=4),
    )
}  # fmt: skip

CONTRASTS = {
    scheme.name: scheme
    for scheme in (
        Scheme("latent_moving", "", "Context kept as latents, anchor moves", f"{_HOME}.clamped:latent_moving"),
        Scheme("pixel_moving", "", "Context decoded and coded again, anchor moves", f"{_HOME}.clamped:pixel_moving"),
        Scheme("latent_fixed", "", "Context kept as latents, anchor stays", f"{_HOME}.clamped:latent_fixed"),
    )
}
"""Two questions, one change each against the first: pixel round trip or latents; an anchor that stays or moves along."""

FAMILIES = {"paradigm": PARADIGMS, "contrast": CONTRASTS}
