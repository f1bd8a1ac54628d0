"""The body of `evalkit weights`: what official networks there are, which are here, and getting or checking them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from evalkit.errors import EvalkitError
from evalkit.metrics.official_weights import OfficialWeights, official_weights
from evalkit.metrics.weights import WeightsError
from evalkit.metrics.weights_folder import MISSING, PRESENT, UNPINNED, WeightsFolder, all_ids

SAY_EVERY_S = 5.0


def run_weights(action: str, ids: Sequence[str], folder: str) -> tuple[list[dict[str, Any]], list[str], bool]:
    """(JSON content, lines, whether all is well) of one action; nothing is fetched but by `get` with ids."""
    entries = [official_weights(one) for one in (ids or all_ids())]
    shelf = WeightsFolder(folder)
    if action == "get":
        if not ids:
            raise EvalkitError("say which: python -m evalkit weights get ID ...; ids: " + ", ".join(all_ids()))
        return _get(shelf, entries)
    rows = [_row(shelf, entry, rehash=action == "verify") for entry in entries]
    lines = [f"folder: {folder}"]
    for row in rows:
        lines += [f"{row['id']:22} {row['state']:9} {_size(row['bytes']):>8}  {row['title']}; {row['licence']}"]
        if action == "list":
            lines += [f"{'':22} for {', '.join(row['used_by']) or 'no metric by default'}; {row['source']}"]
        lines += [f"{'':22} {one['name']}: {one['state']} {one['detail']}".rstrip() for one in row["files"] if one["detail"]]
    wrong = [row["id"] for row in rows if row["state"] == "wrong"]
    if wrong:
        lines.append(f"altered or incomplete: {', '.join(wrong)}; get them again: evalkit weights get {' '.join(wrong)}")
    return rows, lines, not wrong


def _get(shelf: WeightsFolder, entries: Sequence[OfficialWeights]) -> tuple[list[dict[str, Any]], list[str], bool]:
    lines, rows = [], []
    said = [0.0]

    def progress(name: str, done: int, whole: int | None) -> None:
        if time.monotonic() - said[0] > SAY_EVERY_S:
            said[0] = time.monotonic()
            print(f"{name}: {_size(done)} of {_size(whole) if whole else '?'}", file=sys.stderr)

    for entry in entries:
        print(f"{entry.title}: {_size(entry.size_bytes)}; licence: {entry.licence}", file=sys.stderr)
        try:
            place = shelf.fetch(entry.id, progress)
        except WeightsError as error:
            raise EvalkitError(str(error)) from error
        rows.append(_row(shelf, entry, rehash=False))
        lines.append(f"{entry.id}: {place}")
    return rows, lines, True


def _row(shelf: WeightsFolder, entry: OfficialWeights, rehash: bool) -> dict[str, Any]:
    states = shelf.verify(entry.id) if rehash else shelf.states(entry.id)
    needed = [one for one in states if one.state != MISSING]
    if any(one.state not in (PRESENT, UNPINNED, MISSING) for one in states):
        state = "wrong"
    elif shelf.has(entry.id):
        state = "present"
    else:
        state = "partly" if needed else "absent"
    return {
        "id": entry.id,
        "title": entry.title,
        "state": state,
        "bytes": entry.size_bytes,
        "licence": entry.licence,
        "used_by": list(entry.used_by),
        "source": entry.source,
        "files": [vars(one) for one in states],
    }


def _size(count: int | None) -> str:
    if not count:
        return "size ?"
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
