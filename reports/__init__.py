"""reports: one offline HTML page per run folder, built from its files and nothing else.

``build(run)`` reads the documented files of a run (``docs/architecture.md``) and writes
``RUN/report/index.html``: one file, no network, the same bytes for the same store.
"""

from __future__ import annotations

from pathlib import Path

from reports.budget import DEFAULT_BUDGET_BYTES

__all__ = ["DEFAULT_BUDGET_BYTES", "build"]


def build(run: Path, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> Path:
    """Write ``RUN/report/index.html`` and return its path.

    ``budget_bytes`` bounds the videos embedded in the page; those beyond it are linked by relative path.
    """
    from reports.page import build_page  # Drawing libraries load only when a page is really built.

    return build_page(Path(run), budget_bytes)
