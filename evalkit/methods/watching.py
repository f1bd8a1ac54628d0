"""Looks over a rollout's shoulder: where its caches and its sink stand after each evaluation, without changing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liveavatar.streaming.rollout import Rollout


def watch(rollout: Rollout, seen: list[dict[str, Any]]) -> None:
    """Let a rollout note, after each evaluation, the positions that attention just used (paper section 4.4, Figure 7).

    Positions are latent frames on the cache's own time line, which starts anew now and then: only differences matter.
    """
    evaluate, latents = rollout.velocity, rollout.block_latents

    def watched(x: Any, step: int, *rest: Any) -> Any:
        made = evaluate(x, step, *rest)
        block, cache = rollout.next_block, rollout.caches[(step - rollout.own.start) % len(rollout.caches)]
        placed = cache.placed
        assert placed is not None
        held = [one for one in sorted(cache.blocks_in_slot_order(block)) if one != block]
        entry = {"block": block, "step": step, "own": _line(block, latents, cache.origin), "sink": placed[2]}
        entry["past"] = [{"block": one, "positions": _line(one, latents, cache.origin)} for one in held]
        seen.append({**entry, "sink_is": "adapted" if placed[0] > 1 else "reference"})
        return made

    rollout.velocity = watched  # type: ignore[method-assign,assignment]


def _line(block: int, latents: int, origin: int) -> list[int]:
    """A block's latent frames on the time line of a cache."""
    return list(range(block * latents - origin, (block + 1) * latents - origin))
