"""A layout written out: who does what, what each device holds, what passes between them, what it should reach."""

from __future__ import annotations

from typing import Any

import torch

from liveavatar.config import ProfileConfig
from liveavatar.tpp.footprint import device_bytes
from liveavatar.tpp.message import MessageForm
from liveavatar.tpp.simulate import simulate
from liveavatar.tpp.times import Times
from liveavatar.tpp.variants import Variant

GIB = 2**30


def plan(chosen: Variant, profile: ProfileConfig, element_bytes: int, times: Times | None = None) -> dict[str, Any]:
    """Facts by device; with times, what the simulator makes of them."""
    layout, options = chosen.layout, chosen.options
    with_voice, plain = (MessageForm(profile, voice, torch.float32) for voice in (profile.transformer, None))
    held = device_bytes(profile, layout, options, element_bytes)
    rows = []
    for role, parts in zip(layout.roles, held, strict=True):
        sends = None
        if role.is_leader and role.target is not None:
            form = with_voice if layout.stages[role.number + 1].steps else plain
            sends = {"to": role.target, "bytes_per_block": form.nbytes, "parts": form.part_bytes}
        rows.append({"rank": role.rank, "stage": role.name, "holds_bytes": parts, "sends": sends})
    made: dict[str, Any] = {
        "layout": layout.spec,
        "name": chosen.name,
        "about": chosen.about,
        "profile": profile.name,
        "devices": layout.devices,
        "nfe": options.evaluations,
        "cache": options.cache,
        "aas": f"after {options.aas_after_blocks} block(s), {options.aas_switch}" if options.aas else "off",
        "rows": rows,
    }
    if times is not None:
        result = simulate(layout, options, times)
        made["expected"] = {"fps": result.fps, "ttff_s": result.ttff_s, "utilisation": list(result.utilisation)}
    return made


def table(made: dict[str, Any]) -> str:
    """The plan for reading."""
    lines = [
        f"layout {made['layout']}: {made['about'] or made['name']}",
        f"{made['devices']} device(s), {made['nfe']} evaluations per block, {made['cache']} cache, AAS {made['aas']}",
        f"profile {made['profile']}; memory without activations",
        "rank  stage                        GiB  (transformer, caches, codec, encoders)   sends per block",
    ]
    for row in made["rows"]:
        parts = row["holds_bytes"]
        each = ", ".join(f"{parts.get(name, 0) / GIB:.1f}" for name in ("transformer", "caches", "codec", "encoders"))
        sends = "frames to the viewer" if row["sends"] is None else _sends(row["sends"])
        lines.append(f"{row['rank']:4}  {row['stage']:24} {sum(parts.values()) / GIB:7.1f}  ({each:24})   {sends}")
    if "expected" in made:
        expected = made["expected"]
        busy = ", ".join(f"{share:.0%}" for share in expected["utilisation"])
        lines.append(f"simulated: {expected['fps']:.2f} generation FPS, TTFF {expected['ttff_s']:.2f} s, stages busy {busy}")
    return "\n".join(lines)


def _sends(sends: dict[str, Any]) -> str:
    parts = ", ".join(f"{name} {count:,}" for name, count in sends["parts"].items())
    return f"{sends['bytes_per_block']:,} B to rank {sends['to']} ({parts})"
