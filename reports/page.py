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

from reports import cases, definition, figures, format, media, plot, speed, tables, trust
from reports.data import Run, load

TEMPLATES = Path(__file__).parent / "templates"


def build_page(root: Path, budget_bytes: int) -> Path:
    """Read a run folder and write its ``report/index.html``; returns the path."""
    run = load(root)
    return _write(root / "report" / "index.html", render(run, budget_bytes))


def render(run: Run, budget_bytes: int) -> str:
    """The whole page as text; the same store gives the same text."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(fmt=format, svg=Markup, dash_svg=dash_sample)
    return environment.get_template("page.html.j2").render(context(run, budget_bytes))


def context(run: Run, budget_bytes: int) -> dict[str, Any]:
    """Everything the template may show."""
    shelf = media.Shelf(run, budget_bytes)
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
        "paired": figures.paired_pictures(run),
        "drift": figures.drift_pictures(run),
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


def _write(path: Path, text: str) -> Path:
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
