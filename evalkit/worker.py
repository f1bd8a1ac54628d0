"""A worker process: loads once, makes records one by one as the driver names them, and writes each record itself.

The driver sends the index of an item per line on standard input; the worker answers with one JSON line per event. When
standard input ends, the driver is gone or done, and the worker leaves at once: whatever it was writing does not count,
because the record comes last.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from evalkit.environment import EnvironmentBlock
from evalkit.errors import DISK_FULL_EXIT, is_disk_full
from evalkit.failures import failure_of
from evalkit.jobs import JobSpec, WorkItem, failed_record, spec_path
from evalkit.makers import Maker, make_maker
from evalkit.plugins import load_plugins
from evalkit.store import Store, full_message


class Worker:
    """Runs the items of one job."""

    def __init__(self, run: Path, job_id: str, events: TextIO) -> None:
        self.run, self.events = run, events
        self.store = Store(run)
        self.spec = JobSpec.from_json(json.loads(spec_path(run, job_id).read_text(encoding="utf-8")))
        load_plugins(self.spec.plugins)
        self.environment = EnvironmentBlock(run)
        self.is_busy = threading.Event()
        self._maker: Maker | None = None

    def serve(self, orders: queue.SimpleQueue[int | None]) -> None:
        """Make items until the driver has no more."""
        while (index := orders.get()) is not None:
            self.is_busy.set()
            self.tell("begin", index)
            try:
                statuses = self.make(self.spec.items[index])
            except Exception as error:
                if not is_disk_full(error):
                    raise
                self.tell("disk_full", index, message=str(full_message(self.run)))
                sys.exit(DISK_FULL_EXIT)
            self.is_busy.clear()
            self.tell("end", index, statuses=statuses)

    def make(self, item: WorkItem) -> list[str]:
        """Make the records of one item; an error becomes a failed record. A full disk is passed on."""
        started, clock = _now(), time.monotonic()
        try:
            if self._maker is None:
                self._maker = make_maker(self.store, self.spec)
            records = self._maker.make(item)
        except Exception as error:
            if is_disk_full(error):
                raise
            traceback.print_exc()
            failure = failure_of(error, self.spec.id)
            records = [failed_record(part, failure) for part in item.parts]
        for record in records:
            record.started, record.finished = started, _now()
            record.duration_s = round(time.monotonic() - clock, 3)
            record.origin = {"env_id": self.environment.id(), "job": self.spec.id, **self.environment.code()}
            self.store.write(record)
        return [record.status for record in records]

    def tell(self, event: str, index: int, **more: Any) -> None:
        """One line to the driver."""
        self.events.write(json.dumps({"event": event, "item": index, **more}) + "\n")
        self.events.flush()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _listen(orders: queue.SimpleQueue[int | None], is_busy: threading.Event) -> None:
    for line in sys.stdin:
        orders.put(int(line))
    if is_busy.is_set():
        os._exit(1)
    orders.put(None)


def main(arguments: list[str]) -> None:
    """Entry point: `python -m evalkit.worker RUN JOB`."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print goes to the log, not between our events
    orders: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    worker = Worker(Path(arguments[0]), arguments[1], events)
    threading.Thread(target=_listen, args=(orders, worker.is_busy), daemon=True).start()
    worker.serve(orders)
    # Every record is on the disk. Taking networks and their threads apart in order only takes time.
    events.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
