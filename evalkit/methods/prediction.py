"""What a layout over several devices should reach: times of its parts, measured on this machine, through the simulator."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evalkit.generator import GeneratorSetup
    from liveavatar.config import RolloutOptions
    from liveavatar.tpp.layout import Layout
    from liveavatar.tpp.times import Times

RANDOM_TINY = "random-tiny"


def predict(
    layout: str,
    options: RolloutOptions,
    profile: str,
    size: tuple[int, int] | None,
    setup: GeneratorSetup,
    blocks: int,
) -> dict[str, Any]:
    """Rate and time to first frame (paper section 10) of a layout of `liveavatar.tpp.variants`, and the times behind them.

    A stage's evaluations that several devices share count as shared without loss: no exchange between them is measured
    here, so such a row is an upper bound.
    """
    import torch

    from liveavatar.config import profile as get_profile
    from liveavatar.tpp.simulate import simulate
    from liveavatar.tpp.times import read_times
    from liveavatar.tpp.variants import variant

    config = get_profile(profile)
    config = config if size is None else replace(config, width=size[0], height=size[1])
    threads = torch.get_num_threads()
    common = read_times(None, **_measured(config, setup, threads, blocks)).of(layout)
    chosen = variant(layout, options)
    times, is_bound = _shared(common, chosen.layout)
    found = simulate(chosen.layout, chosen.options, times)
    about = f"layout {chosen.layout.spec}, each part timed alone with {threads} thread(s)"
    return {
        "fps_predicted": found.fps,
        "ttff_predicted": found.ttff_s,
        "first_frame_s": found.first_frame_s,
        "devices": chosen.layout.devices,
        "nfe": chosen.options.evaluations,
        "t_dit": statistics.fmean(common.step(step, options.steps) for step in range(options.steps)),
        "t_vae": common.t_vae,
        "t_voice": common.t_voice,
        "busy_share": statistics.fmean(found.utilisation),
        "about": about + ("; shared evaluations count as shared without loss: an upper bound" if is_bound else ""),
    }


def _measured(config: Any, setup: GeneratorSetup, threads: int, blocks: int) -> dict[str, Any]:
    """The times that `Times` knows, by name; what was measured is the sizes, not the weights."""
    import torch

    from liveavatar.tpp.measure import MeasureOptions, measure

    weights = setup.weights if setup.weights else "random"
    options = MeasureOptions(weights, setup.device, setup.dtype or None, setup.fp8, threads, blocks)
    try:
        found = measure(config, options)
    finally:
        torch.set_num_threads(threads)
    names = ("t_dit", "t_vae", "t_voice", "t_hand", "t_prefill", "look_ahead_s", "block_frames", "playback_fps")
    return {name: found[name] for name in names}


def _shared(times: Times, layout: Layout) -> tuple[Times, bool]:
    """Times of an evaluation where several devices share it, and whether any do."""
    devices = max(stage.devices for stage in layout.stages)
    if devices == 1:
        return times, False
    each = times.t_dit if isinstance(times.t_dit, tuple) else (times.t_dit,)
    return replace(times, t_dit=tuple(seconds / devices for seconds in each)), True
