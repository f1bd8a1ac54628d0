"""What stands in the record of every clip that a paradigm made: whose scheme it is, and what is not in it."""

from __future__ import annotations

from typing import Any

from evalkit.methods.paradigms import Scheme


def notes(scheme: Scheme, policy: Any) -> dict[str, Any]:
    """What a reader of a record must know."""
    system = f"our nano re-implementation of the scheme of {scheme.of}, not the system"
    text = (system if scheme.of else "a contrast of ours") + (f"; left out: {scheme.left_out}" if scheme.left_out else "")
    found: dict[str, Any] = {"note": text}
    sampler, guidance = getattr(policy, "sampler", None), getattr(policy, "guidance", None)
    if sampler is not None:
        found |= {"steps": sampler.steps, "official_steps": scheme.official_steps or None}
    return found | ({"branches": len(guidance.branches)} if guidance is not None else {})
