"""Live Avatar and its ablations: switches of the one rollout, run through `liveavatar.pipeline`."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import PrerequisiteMissingError
from evalkit.experiments import PREDICTED
from evalkit.fingerprint import digest
from evalkit.generator import GeneratorSetup
from evalkit.methods.base import ABLATION, FROM_CLIPS, SYSTEM, TIMELINE, VIDEO, Generation, Inputs, Method, Session
from evalkit.methods.live_stream import LiveFrames, LiveListening

if TYPE_CHECKING:
    from liveavatar.pipeline import Pipeline
    from liveavatar.streaming.session import Session as StreamSession

SUPPORTED_PROFILES = ("nano", "s2v-14b")
RANDOM_WEIGHTS = ("random", "random-tiny")
# GenBench's portraits stand upright; the area is about that of the release's 704x384.
DEFAULT_SIZES = {"nano": "", "s2v-14b": "432x576"}


class LiveAvatar(Method):
    """The streaming rollout under one set of options."""

    version = "1"
    needs = "nano weights (shipped), or a folder of s2v-14b's"

    def __init__(
        self, name: str, title: str, kind: str = SYSTEM, variant: str = "", layout: str = "", **options: Any
    ) -> None:
        """variant: of the shipped weights; layout: over several devices, by name; options: of the rollout."""
        self.name, self.title, self.variant, self.layout, self.options = name, title, variant, layout, options
        self.kind = kind  # type: ignore[misc]  # the same class serves the system and its ablations
        self.setup = GeneratorSetup()

    def configure(self, setup: GeneratorSetup) -> None:
        """Where the weights lie and how the generator runs."""
        self.setup = setup

    def load(self, profile: str) -> Session:
        """Load the weights once."""
        problem = self.problem(profile)
        if problem:
            raise PrerequisiteMissingError(problem)
        from liveavatar import pipeline
        from liveavatar.threads import share_threads

        loaded = pipeline.load(
            profile=profile,
            device=self.setup.device,
            weights=self.setup.weights or None,
            dtype=self.setup.dtype or None,
            fp8=self.setup.fp8,
            offload=self.setup.offload,
            size=self._size(profile),
            variant=self.variant or None,
            overlaps=share_threads(self.setup.device),
        )
        return LiveAvatarSession(loaded, self._rollout(profile))

    def identity(self, profile: str) -> dict[str, Any]:
        """Profile, its sizes, options, types and the digest of the weights."""
        from liveavatar.config import profile as get_profile

        size = self._size(profile)
        found = {
            "profile": profile,
            "config": digest(asdict(get_profile(profile))),
            # As it will be read back, so that a plan names only what differs.
            "options": json.loads(json.dumps(asdict(self._rollout(profile)))),
            "weights": weights_digest(profile, self.setup.weights),
        }
        found |= {"size": list(size)} if size else {}
        found |= {"variant": self.variant} if self.variant else {}
        # The type follows the device where none was asked for.
        types = [self.setup.dtype or ("" if self.setup.device == "cpu" else "bfloat16"), "fp8" if self.setup.fp8 else ""]
        return found | ({"types": types} if any(types) else {})

    def predicted(self, profile: str, blocks: int) -> dict[str, Any]:
        """See `Method.predicted`: random weights of the same sizes, each part timed as a device of its own would run it."""
        if not self.layout:
            return super().predicted(profile, blocks)
        from evalkit.methods.prediction import predict

        return predict(self.layout, self._rollout(profile), profile, self._size(profile), self.setup, blocks)

    def gpus(self, profile: str) -> int:
        """One, unless it runs on the processor or on a device that is not handed out by number."""
        return int(self.setup.device.partition(":")[0] not in ("cpu", "mps", "xpu"))

    def problem(self, profile: str) -> str:
        """Missing weights or an unknown profile, with the fix."""
        if profile not in SUPPORTED_PROFILES:
            return f"{self.name} has no profile {profile} yet; use --profile nano"
        problem = self._setup_problem(profile) or (_folder_problem(self.setup.weights) if profile != "nano" else "")
        if problem:
            return f"{self.name}: {problem}"
        if not weights_digest(profile, self.setup.weights):
            return f"{self.name} needs the weights of profile {profile}; train them: python -m liveavatar.training --help"
        return self._variant_problem(profile)

    def _variant_problem(self, profile: str) -> str:
        """A variant that the weights do not have."""
        if not self.variant or self.setup.weights in RANDOM_WEIGHTS:
            return ""
        if profile != "nano":
            return f"{self.name} needs weights trained otherwise, which profile {profile} does not have"
        from liveavatar.checkpoints.store import VARIED, open_weights

        folder = Path(self.setup.weights) if self.setup.weights else _shipped_weights(profile)
        known = open_weights(folder).variants(VARIED) if folder else []
        if self.variant in known:
            return ""
        return f"{self.name} needs the variant {self.variant!r} of the weights, which have: {', '.join(known) or 'none'}"

    def _setup_problem(self, profile: str) -> str:
        """A size that is none, or that the profile does not take."""
        from dataclasses import replace

        from liveavatar.config import profile as get_profile

        try:
            size = self._size(profile)
            if size is not None:
                replace(get_profile(profile), width=size[0], height=size[1])
        except ValueError as error:
            return str(error)
        return ""

    def _size(self, profile: str) -> tuple[int, int] | None:
        """Width and height of the videos; None: the profile's only one."""
        from liveavatar.load_options import parse_size

        return parse_size(self.setup.size or DEFAULT_SIZES[profile] or None)

    def _rollout(self, profile: str) -> Any:
        from dataclasses import replace

        from liveavatar.config import profile as get_profile

        return replace(get_profile(profile).rollout, **self.options)


class LiveAvatarSession(Session):
    """A loaded pipeline with fixed options."""

    def __init__(self, pipeline: Pipeline, options: Any) -> None:
        self.pipeline, self.options = pipeline, options

    def generate(self, inputs: Inputs, seed: int, out_dir: Path) -> Generation:
        """Stream the voice through the model into out_dir."""
        video, timeline = out_dir / VIDEO, out_dir / TIMELINE
        result = self.pipeline.generate(
            inputs.image,
            inputs.audio,
            video,
            prompt=inputs.prompt,
            seed=seed,
            sample_id=inputs.id,
            options=self.options,
            timeline=timeline,
            audio_codec="flac",
        )
        details = {"width": result.width, "height": result.height, "wall_s": result.wall_s}
        return Generation(video, timeline if timeline.is_file() else None, result.frames, float(result.fps), details)

    def frames(self, inputs: Inputs, seed: int) -> LiveFrames:
        """A stream of frames whose state can be kept."""
        return LiveFrames(self._open(inputs, seed), self.pipeline.config)

    def listen(self, inputs: Inputs, seed: int) -> LiveListening:
        """A stream whose frames are made and handed over, and then dropped."""
        return LiveListening(self._open(inputs, seed))

    def positions(self, inputs: Inputs, seed: int, blocks: int) -> list[dict[str, Any]]:
        """See `Session.positions`: read from the caches after each evaluation."""
        import numpy as np

        from evalkit.methods.watching import watch
        from liveavatar.inputs import read_voice

        config, session = self.pipeline.config, self._open(inputs, seed)
        seen: list[dict[str, Any]] = []
        for rollout in session.rollouts:
            watch(rollout, seen)
        voice = read_voice(inputs.audio)
        per_block = config.block_frames * config.samples_per_frame
        voice = np.resize(voice, per_block * (blocks + 2))
        for first in range(0, len(voice), per_block):
            for _ in session.push(voice[first : first + per_block]):
                pass
            if session.rollout.next_block >= blocks:
                break
        return sorted((one for one in seen if one["block"] < blocks), key=lambda one: (one["block"], one["step"]))

    def _open(self, inputs: Inputs, seed: int) -> StreamSession:
        from liveavatar.inputs import read_picture

        config = self.pipeline.config
        picture = read_picture(inputs.image, config.height, config.width)
        return self.pipeline.open(picture, inputs.prompt, seed, inputs.id, self.options)


def weights_digest(profile: str, weights: str = "") -> str:
    """One digest of all weights in use; empty when there are none.

    nano: sha256 of the manifest, which names the digest of each file. Others: see `checkpoints.verify.identity`.
    """
    if weights in RANDOM_WEIGHTS:
        return weights
    if profile != "nano":
        from liveavatar.checkpoints.verify import identity

        return identity(Path(weights))
    folder = Path(weights) if weights else _shipped_weights(profile)
    if folder is None:
        return ""
    manifest = folder / "manifest.json"
    return hashlib.sha256(manifest.read_bytes()).hexdigest() if manifest.is_file() else ""


def _shipped_weights(profile: str) -> Path | None:
    spec = importlib.util.find_spec("liveavatar")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "weights" / profile


def _folder_problem(weights: str) -> str:
    """What is wrong with a checkpoint folder, by its headers; empty when nothing is."""
    if not weights:
        return "profile s2v-14b needs --weights FOLDER; what must be in it: python -m liveavatar weights list"
    if weights in RANDOM_WEIGHTS:
        return ""
    from liveavatar.checkpoints.store import WeightsError
    from liveavatar.checkpoints.verify import verify

    try:
        wrong = [report for report in verify(Path(weights), with_digests=False) if not report.is_fine]
    except WeightsError as error:
        return str(error)
    return f"{wrong[0].name}: {wrong[0].problem}" if wrong else ""


def live_avatar() -> Method:
    """The system as the paper describes it."""
    return LiveAvatar("live_avatar", "Live Avatar (ours)", layout="tpp")


def clean_kv() -> Method:
    """Table 6: one cache of finished blocks instead of one per timestep."""
    return LiveAvatar("live_avatar_clean_kv", "Clean key/value cache", ABLATION, layout="no-tpp", cache="clean")


def no_aas() -> Method:
    """Table 4: the sink stays the reference picture."""
    return LiveAvatar("live_avatar_no_aas", "Without AAS", ABLATION, aas=False)


def no_rolling_rope() -> Method:
    """Table 4: the sink keeps its first position."""
    return LiveAvatar("live_avatar_no_rolling_rope", "Without Rolling RoPE", ABLATION, rolling_rope=False)


def sp4() -> Method:
    """Table 3: all evaluations shared by four devices."""
    return _predicted_only("live_avatar_sp4", "Without TPP, SP on 4 devices", "sp4", cache="clean")


def no_vae_parallel() -> Method:
    """Table 3: the device of the last step also decodes."""
    return _predicted_only("live_avatar_no_vae_parallel", "Without VAE parallelism", "no-vae-parallel")


def no_dmd() -> Method:
    """Table 3: as many steps as the base model takes, with guidance."""
    return _predicted_only("live_avatar_no_dmd", "Without DMD", "no-dmd")


def _predicted_only(name: str, title: str, layout: str, **options: Any) -> Method:
    """A row that one process cannot run as it is meant."""
    method = LiveAvatar(name, title, ABLATION, layout=layout, **options)
    method.only_scenarios = (PREDICTED,)
    return method


def no_history_corrupt() -> Method:
    """Table 4: a student distilled on finished blocks, streamed as usual."""
    return LiveAvatar("live_avatar_no_history_corrupt", "Without History Corrupt", ABLATION, "no_history_corrupt")


def in_steps(steps: int) -> Method:
    """The student with another number of evaluations per block."""
    return _in_steps(LiveAvatar(f"live_avatar_{steps}_steps", f"Distilled, {_steps(steps)}", ABLATION, steps=steps))


def undistilled(steps: int) -> Method:
    """The generator after stage 1, with so many Euler steps per block."""
    name, title = f"undistilled_{steps}_steps", f"Undistilled, {_steps(steps)}"
    return _in_steps(LiveAvatar(name, title, ABLATION, "stage1", steps=steps))


def _in_steps(method: LiveAvatar) -> Method:
    # Forty steps take minutes for what the protocol asks of a system.
    method.speed = FROM_CLIPS  # type: ignore[misc]
    return method


def _steps(count: int) -> str:
    return f"{count} step" + "s" * (count > 1)
