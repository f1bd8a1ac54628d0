"""Derived files: cells, tables, statistics and the report. All can be deleted and made again from records."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit import paper_layout
from evalkit.claims import check_claims
from evalkit.comparisons import best_rows, paired_differences
from evalkit.curves import drift_curves, memory_curves, position_records
from evalkit.definition import FILE, Definition
from evalkit.fingerprint import digest, file_sha256
from evalkit.plan import Plan
from evalkit.printing import FORMATS, print_table
from evalkit.records import dumps
from evalkit.results import collect
from evalkit.slopes import drift_slopes
from evalkit.store import Store, read_json, write_text
from evalkit.tables import interval_checks, make_cells

REPORT = "report/index.html"
PAGE_SOURCES = (".py", ".html", ".css", ".js", ".j2")
PAIRED = "stats/paired.json"
BEST = "stats/best.json"
REPORT_MARK = "report/made_from.json"


def write_derived(store: Store, definition: Definition, plan: Plan) -> list[dict[str, Any]]:
    """Write cells, tables and statistics, leaving files alone that already say the same; gives the cells."""
    results = collect(store, definition, plan)
    cells, best, paired = make_cells(results), best_rows(results), paired_differences(results)
    write_if_new(store.path("table/cells.json"), dumps(cells))
    for table in definition.tables:
        for form in FORMATS:
            text = print_table(definition, table, cells, form, best, paired)
            write_if_new(store.path(f"table/{table.name}.{form}"), text)
        for form in paper_layout.FORMATS if table.paper_table else ():
            text = paper_layout.paper_table(definition, table, cells, best, form)
            write_if_new(store.path(f"table/{table.name}.{form}"), text)
    curves = drift_curves(results)
    write_if_new(store.path("stats/drift.json"), dumps(curves))
    slopes = drift_slopes(results, curves)
    write_if_new(store.path("stats/slopes.json"), dumps(slopes))
    write_if_new(store.path("stats/claims.json"), dumps(check_claims(results, paired, cells, slopes)))
    write_if_new(store.path(PAIRED), dumps(paired))
    write_if_new(store.path(BEST), dumps(best))
    write_if_new(store.path("stats/intervals.json"), dumps(interval_checks(results)))
    if definition.positions:
        write_if_new(store.path("stats/positions.json"), dumps(position_records(store, definition)))
    if definition.stress is not None:
        write_if_new(store.path("stats/memory.json"), dumps(memory_curves(store, definition)))
    return cells


def build_report(
    store: Store, is_forced: bool = False, out: Path | None = None, mode: str = "auto"
) -> tuple[Path | None, str]:
    """The report's path and, if it could not be made, why. An up-to-date report is left alone.

    out, mode: where the page and its videos go, as `reports.build` takes them.
    """
    if importlib.util.find_spec("reports") is None:
        return None, "the package `reports` is not installed; tables and records are complete without it"
    mark, path = store.path(REPORT_MARK), store.path(REPORT)
    made_from = {"digest": _state_digest(store)}
    if not is_forced and path.is_file() and read_json(mark) == made_from:
        return path, ""
    import reports

    try:
        built = reports.build(store.root, out=out, mode=mode)
    except Exception as error:  # a page that cannot be drawn must not cost the run its exit code or its tables
        return None, f"the report could not be made: {type(error).__name__}: {error}"
    if out is None and mode == "auto":
        write_text(mark, dumps(made_from))
    return Path(built), ""


def build_index(places: Sequence[Path], out: Path) -> tuple[Path | None, str]:
    """The page over many runs and, if it could not be made, why."""
    if importlib.util.find_spec("reports") is None:
        return None, "the package `reports` is not installed, so there is no page over the runs"
    import reports

    try:
        return reports.build_index(places, out), ""
    except (OSError, ValueError) as error:
        return None, f"the page over the runs could not be made: {error}"


def write_figures(store: Store, folder: Path | None) -> list[Path]:
    """Figure files of a run."""
    import reports

    return reports.write_figures(store.root, folder)


def write_if_new(path: Path, text: str) -> None:
    """Write a file unless it already has this content."""
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except OSError:
        pass  # not there yet
    write_text(path, text)


def _state_digest(store: Store) -> str:
    """Changes when anything changes that a report shows, or the code that draws it."""
    files = [store.path(FILE), *sorted(store.path("table").glob("*.json")), *sorted(store.path("stats").glob("*.json"))]
    contents = [[path.name, file_sha256(path)] for path in files if path.is_file()]
    records = []
    for path in sorted(store.path("records").rglob("*.json")):
        stat = path.stat()
        records.append([path.relative_to(store.root).as_posix(), stat.st_size, stat.st_mtime_ns])
    spec = importlib.util.find_spec("reports")
    homes = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    sources = [(home, path) for home in homes for path in sorted(home.rglob("*")) if path.suffix in PAGE_SOURCES]
    code = [[path.relative_to(home).as_posix(), file_sha256(path)] for home, path in sources]
    return digest([contents, records, code])
