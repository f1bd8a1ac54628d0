"""The page itself: gathers every section's view, renders the template, writes the file atomically."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports import cases, claims, definition, figures, filmstrips, format, media, plot, positions, speed, tables, trust
from reports.data import Run, load

TEMPLATES = Path(__file__).parent / "templates"


def build_page(root: Path, budget_bytes: int, out: Path | None = None, mode: str = "auto") -> Path:
    """Read a run folder and write its page; returns the path.

    out: a folder to write the page and, in folder mode, its videos into, fit to be moved elsewhere; None: RUN/report, with
    videos left where they are. mode: "auto" embeds videos while the budget lasts, "single" embeds all, "folder" none.
    """
    run = load(root)
    shelf = media.Shelf(run, budget_bytes, mode, out)
    text = render(run, shelf)
    excess = len(text.encode()) - budget_bytes
    if mode == "auto" and excess > 0 and shelf.embedded:
        # The rest of the page took more than expected: fewer videos stay inside.
        text = render(run, media.Shelf(run, max(0, shelf.spent_bytes - excess), mode, out))
    return write_page((out or root / "report") / "index.html", text)


def environment() -> Environment:
    """Templates with what all of them use."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(fmt=format, svg=Markup, dash_svg=dash_sample)
    return made


def render(run: Run, shelf: media.Shelf) -> str:
    """The whole page as text; the same store gives the same text."""
    return environment().get_template("page.html.j2").render(context(run, shelf))


def context(run: Run, shelf: media.Shelf) -> dict[str, Any]:
    """Everything the template may show."""
    shown = cases.cases(run, shelf)
    script = (TEMPLATES / "script.js").read_text("utf-8")
    return {
        "run": run,
        "title": str(run.experiment.get("title") or run.experiment.get("name") or "Run"),
        "verdict": trust.verdict(run),
        "date": trust.date(run),
        "checks": trust.checks(run),
        "hero": cases.hero_rows(run),
        "tables": tables.summary_tables(run),
        "claims": claims.claim_view(run),
        "paired": figures.paired_pictures(run),
        "drift": figures.drift_pictures(run),
        "slopes": figures.slope_rows(run),
        "positions": positions.position_pictures(run),
        "films": filmstrips.films(run),
        "speed": speed.speed_view(run),
        "legend": definition.method_legend(run),
        "cases": shown,
        "case_rule": cases.RULE,
        "sample_total": sum(len(dataset.samples) for dataset in run.datasets.values()),
        "extremes": cases.extremes(run, shown),
        "sample_metrics": tables.sample_metrics(run),
        "sample_rows": tables.sample_rows(run),
        "failures": definition.failures(run),
        "method_text": definition.paragraphs(run),
        "metric_rows": definition.metric_rows(run),
        "environments": {name: _pretty(block) for name, block in run.environments.items()},
        "commands": definition.commands(run),
        "digests": definition.digests(run),
        "artefacts": definition.artefact_digests(run),
        "downloads": _downloads(run),
        "shelf": shelf,
        "style": Markup((TEMPLATES / "style.css").read_text("utf-8")),
        "script": Markup(script),
        "policy": policy(script, bool(shelf.linked)),
    }


def policy(script: str, has_linked_media: bool) -> str:
    """Content-Security-Policy: nothing from a network; files beside the page only in folder mode."""
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    beside = " 'self' file:" if has_linked_media else ""
    return (
        f"default-src 'none'; img-src data:; media-src data:{beside}; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def dash_sample(index: int) -> Markup:
    """A short line in the colour and pattern of a method, for legends."""
    dash = plot.series_dash(index)
    pattern = "" if isinstance(dash, str) else f' stroke-dasharray="{" ".join(str(2 * step) for step in dash[1])}"'
    index %= plot.SERIES_COUNT
    line = f'<line x1="1" y1="5" x2="27" y2="5" stroke="var(--m{index})" stroke-width="3"{pattern}/>'
    return Markup(f'<svg class="dash" width="28" height="10" aria-hidden="true" focusable="false">{line}</svg>')


def _pretty(block: dict) -> str:
    return json.dumps(block, indent=2, sort_keys=True, ensure_ascii=False)


def _downloads(run: Run) -> list[tuple[str, str, str]]:
    """Name, address and size of the files offered inside the page."""
    name = str(run.experiment.get("name") or "run")
    files = [
        (f"{name}-cells.json", "application/json", tables.cells_json(run)),
        (f"{name}-cells.csv", "text/csv", tables.cells_csv(run)),
    ]
    return [(label, media.data_uri(content, kind), format.size(len(content))) for label, kind, content in files]


def write_page(path: Path, text: str) -> Path:
    """Write beside the target, flush, rename: a reader sees the old page or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".index-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(text.encode("utf-8", errors="replace"))
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
