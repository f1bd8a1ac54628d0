"""What the test sets' own manifests say of their pictures: agreement with the prompt, computed when the set was built.

genbench's quality gate compares picture and prompt with an open-clip model and keeps the cosine; here it is only read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalkit.datasets import LoadedSet

AGREEMENT = "prompt_agreement"


def picture_agreement(whole: LoadedSet) -> dict[str, Any]:
    """Mean, lowest and per-sample cosine of a set's pictures with their prompts; `reason` where none was computed."""
    values: dict[str, float] = {}
    reasons: set[str] = set()
    for name, sample in whole.samples.items():
        found = _check(sample.entry)
        value = found.get("value")
        if isinstance(value, int | float) and not isinstance(value, bool):
            values[name] = float(value)
        else:
            reasons.add(str(found.get("reason") or "the set was built without this check"))
    mean = sum(values.values()) / len(values) if values else None
    return {
        "dataset": whole.name,
        "check": AGREEMENT,
        "mean": mean,
        "lowest": min(values.values(), default=None),
        "n": len(values),
        "of": len(whole.samples),
        "by_sample": values,
        "reason": "; ".join(sorted(reasons)) or None,
    }


def _check(entry: Any) -> Mapping[str, Any]:
    """The sample's own record of the check, if its manifest has one."""
    checks = getattr(entry, "checks", None) or ()
    return next((one for one in checks if one.get("name") == AGREEMENT), {})
