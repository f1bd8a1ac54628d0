"""Verify a run: hash every artefact and test set again, read every record, and list what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit import datasets
from evalkit.definition import load_definition
from evalkit.plan import make_plan
from evalkit.plugins import load_plugins
from evalkit.records import DONE, FAILED, INVALID, SCHEMA_VERSION, SCORE, Record
from evalkit.store import Store, read_json, read_record
from evalkit.tables import Cell

STATUSES = (DONE, FAILED, INVALID)


def verify_run(run: Path) -> dict[str, Any]:
    """Problems found, and how much was looked at."""
    definition = load_definition(run)
    load_plugins(definition.plugins)
    store = Store(run)
    problems: list[str] = []
    checked = {"records": 0, "artefacts": 0}
    for path in sorted(store.path("records").rglob("*.json")):
        checked["records"] += 1
        problems += _record_problems(path, store)
        record = read_record(path)
        for artefact in record.artefacts if record else []:
            checked["artefacts"] += 1
            problem = store.problem(artefact, rehash=True)
            if problem:
                problems.append(problem)
    problems += _set_problems(run, [one.name for one in definition.datasets if one.samples])
    problems += _cell_problems(store)
    plan = make_plan(store, definition)
    open_items = [item for item in plan.items if item.state not in (DONE, INVALID)]
    problems += [f"{item.state}: {item.key.label()}: {item.reason}" for item in open_items]
    return {"run": str(run), "checked": checked, "problems": problems, "ok": not problems}


def _record_problems(path: Path, store: Store) -> Iterator[str]:
    name = path.relative_to(store.root).as_posix()
    content = read_json(path)
    if not isinstance(content, dict):
        yield f"{name} is not readable JSON"
        return
    if next(iter(content), "") != "schema_version":
        yield f"{name}: schema_version is not its first field"
    if content.get("schema_version", 0) > SCHEMA_VERSION:
        yield f"{name}: schema_version {content['schema_version']} is newer than this evalkit's {SCHEMA_VERSION}"
    record = read_record(path)
    if record is None:
        yield f"{name} does not hold the fields of a record"
        return
    yield from _content_problems(name, record)
    env_id = record.origin.get("env_id")
    if env_id and not store.path(f"env/{env_id}.json").is_file():
        yield f"{name}: its environment env/{env_id}.json is gone"


def _content_problems(name: str, record: Record) -> Iterator[str]:
    if record.key.path != name:
        yield f"{name} holds the record of {record.key.path}"
    if record.status not in STATUSES:
        yield f"{name}: status {record.status} is none of {', '.join(STATUSES)}"
    if record.status == FAILED and record.error is None:
        yield f"{name} failed without a reason"
    has_reason = record.outputs.get("reason") or record.outputs.get("null_reasons")
    if record.status == DONE and record.key.kind == SCORE and record.outputs.get("value") is None and not has_reason:
        yield f"{name} has no value and no reason"


def _set_problems(run: Path, names: list[str]) -> Iterator[str]:
    for name in names:
        if not datasets.is_built(run, name):
            yield f"test set {name} is not in the run folder"
            continue
        manifest = read_json(datasets.folder_of(run, name) / "manifest.json")
        if name.startswith("genbench_") and isinstance(manifest, dict) and "spec_fingerprint" in manifest:
            yield from _genbench_problems(datasets.folder_of(run, name))


def _genbench_problems(folder: Path) -> Iterator[str]:
    from genbench.errors import DamagedSetError
    from genbench.manifest import load_manifest

    try:
        load_manifest(folder).verify()
    except DamagedSetError as error:
        yield str(error)


def _cell_problems(store: Store) -> Iterator[str]:
    cells = read_json(store.path("table/cells.json"))
    if cells is None:
        yield "table/cells.json is missing; make it with: python -m evalkit table"
        return
    fields = list(Cell.__dataclass_fields__)
    for index, cell in enumerate(cells):
        if list(cell) != fields:
            yield f"table/cells.json: cell {index} has the fields {', '.join(cell)}"
        elif cell["value"] is None and not cell["reason"]:
            yield f"table/cells.json: cell {index} has neither value nor reason"
