"""reports: one offline HTML page per run folder, built from its files and nothing else.

``build(run)`` reads the documented files of a run (``docs/architecture.md``) and writes
``RUN/report/index.html``: one file, no network, the same bytes for the same store.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reports.budget import DEFAULT_BUDGET_BYTES

__all__ = ["DEFAULT_BUDGET_BYTES", "build", "build_index", "write_figures"]


def build(run: Path, budget_bytes: int = DEFAULT_BUDGET_BYTES, out: Path | None = None, mode: str = "auto") -> Path:
    """Write ``RUN/report/index.html``, or ``out/index.html``, and return its path.

    ``budget_bytes`` bounds the page; videos beyond it are linked by relative path. ``mode``: "auto" as said, "single" embeds
    every video, "folder" links them all. With ``out``, linked videos are copied beside the page.
    """
    from reports.page import build_page  # Drawing libraries load only when a page is really built.

    return build_page(Path(run), budget_bytes, out, mode)


def build_index(places: Sequence[Path], out: Path) -> Path:
    """Write one page over many runs, with trends, to ``out``; ``places`` are runs or folders of runs."""
    from reports.index import build_index as build_pages_index

    return build_pages_index([Path(place) for place in places], out)


def write_figures(run: Path, folder: Path | None = None) -> list[Path]:
    """Every figure of a run as SVG and PDF, strips as PNG, in ``folder`` or ``RUN/report/figures``; gives the files."""
    from reports.figure_files import write_figures as write_files

    return write_files(Path(run), folder)
