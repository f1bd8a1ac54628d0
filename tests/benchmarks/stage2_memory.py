"""Peak memory and time of the three forms of a student's gradient over blocks: `python tests/benchmarks/stage2_memory.py`.

Each measurement is a process of its own, since a peak does not come down again. What is counted is the growth over the
weights and gradients, so that forms are compared by what they hold themselves.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
FORMS = ("sequential", "blockwise", "parallel")


def measure(form: str, blocks: int, exit_step: int, is_checkpointed: bool) -> dict[str, float]:
    """MiB above the idle model and seconds of one student gradient of nano's network on one clip."""
    import torch

    from liveavatar.config import nano
    from liveavatar.model.transformer import S2VTransformer, initialise
    from liveavatar.streaming.flow import level_grid
    from liveavatar.training.clip_network import ClipConditions, ClipNetwork
    from liveavatar.training.recipes import SelfForcingOptions
    from liveavatar.training.scale import checkpoint_activations
    from liveavatar.training.self_forcing import RolloutPlan, student_backward

    torch.set_num_threads(1)
    profile, generator = nano(), torch.Generator().manual_seed(0)
    c, size, frames = profile.transformer, profile.latent_size, 3 * blocks
    model = S2VTransformer(c)
    initialise(model, generator)
    if is_checkpointed:
        checkpoint_activations(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    network = ClipNetwork(model, size, frames, 3, 3, 9)
    sink = torch.randn(1, c.in_dim, 1, *size, generator=generator)
    rows = torch.randn(1, 1, c.audio_dim, 4 * frames, generator=generator)
    text = torch.randn(1, 4, c.text_dim, generator=generator)
    noises = [torch.randn(1, c.in_dim, frames, *size, generator=generator) for _ in range(4)]
    plan = RolloutPlan(level_grid(4, 0.5)[:-1], exit_step, noises, SelfForcingOptions(form=form))

    def encode() -> ClipConditions:
        return ClipConditions(sink, model.encode_audio(rows), model.encode_text(text))

    # One short block first: what libraries allocate at their first use is no form's own.
    warm = RolloutPlan(plan.levels, 0, [noise[:, :, :3] for noise in noises], plan.options)
    student_backward(ClipNetwork(model, size, 3, 3, 3, 9), _short(encode), warm, torch.tanh)
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    student_backward(network, encode, plan, torch.tanh)
    seconds = time.perf_counter() - begin
    return {"mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024, "seconds": seconds}


def _short(encode):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    def first_block():  # type: ignore[no-untyped-def]
        c = encode()
        return replace(c, voice=replace(c.voice, local=c.voice.local[:, :3], pooled=c.voice.pooled[:, :3]))

    return first_block


def main() -> None:
    """Print a table: a row per number of blocks, a column per form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--exit-step", type=int, default=3, help="level at which the clip is left; 3 is the last")
    parser.add_argument("--checkpointed", action="store_true", help="activation checkpointing in every form")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one[0], int(args.one[1]), args.exit_step, args.checkpointed)))
        return
    print("| blocks |" + "".join(f" {form}, MiB (s) |" for form in FORMS))
    print("|---" * (len(FORMS) + 1) + "|")
    for blocks in args.blocks:
        cells = []
        for form in FORMS:
            command = [sys.executable, __file__, "--exit-step", str(args.exit_step), "--one", form, str(blocks)]
            command += ["--checkpointed"] * args.checkpointed
            got = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            cells.append(f" {got['mib']:.0f} ({got['seconds']:.1f}) |")
        print(f"| {blocks} |" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
