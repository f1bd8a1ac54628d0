"""The diary of a run: one append-only file per driver process, a JSON line per event. Never read to decide anything."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class Diary:
    """events/DRIVER.jsonl of this process."""

    def __init__(self, run: Path) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        self.path = run / "events" / f"{stamp}-{os.getpid()}.jsonl"

    def note(self, event: str, **more: Any) -> None:
        """Append one event; a diary that cannot be written does not stop a run."""
        line = json.dumps({"t": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **more})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError:
            return
