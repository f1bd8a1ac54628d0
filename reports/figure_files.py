"""Figures as files for a manuscript: each of a run's drawings as SVG and PDF, its strips of frames as PNG."""

from __future__ import annotations

from pathlib import Path

from reports import figures, plot, speed
from reports.cost import cost_pictures
from reports.data import Run, load
from reports.filmstrips import film_rows, strip_picture
from reports.positions import position_pictures


def write_figures(root: Path, folder: Path | None = None) -> list[Path]:
    """Draw everything a run has numbers for into ``folder`` (default ``RUN/report/figures``); gives the files."""
    run = load(root)
    folder = folder or root / "report" / "figures"
    with plot.saved_to(folder):
        draw_all(run)
    for name, rows in film_rows(run):
        folder.mkdir(parents=True, exist_ok=True)
        strip_picture(rows).save(folder / f"{name}.png")
    return sorted(path for path in folder.glob("*") if path.suffix in (".svg", ".pdf", ".png"))


def draw_all(run: Run) -> list[plot.Picture]:
    """Every drawing of the run as a whole, in the page's order."""
    return [
        *figures.paired_pictures(run),
        *cost_pictures(run),
        *figures.drift_pictures(run),
        *position_pictures(run),
        *speed.speed_view(run).pictures,
    ]
