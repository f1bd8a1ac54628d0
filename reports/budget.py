"""How many bytes of video one page may carry before it links to the run folder instead."""

from __future__ import annotations

MEBIBYTE = 1024 * 1024
DEFAULT_BUDGET_BYTES = 25 * MEBIBYTE
