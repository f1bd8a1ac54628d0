"""``python -m reports RUN``: build the page of one run folder and print where it is."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reports import build
from reports.budget import DEFAULT_BUDGET_BYTES, MEBIBYTE

EXAMPLE = """example:
  python -m reports runs/table2
  python -m reports runs/table2 --budget-mib 0    # link every video instead of embedding it
"""


def parser() -> argparse.ArgumentParser:
    """The command line, with a working example in its help."""
    made = argparse.ArgumentParser(
        prog="python -m reports",
        description="Write RUN/report/index.html, one offline page, from the files of a run folder.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("run", metavar="RUN", type=Path, help="run folder, the one that holds experiment.json")
    made.add_argument(
        "--budget-mib",
        type=float,
        default=DEFAULT_BUDGET_BYTES / MEBIBYTE,
        help="video embedded in the page, in MiB; what does not fit is linked (default %(default)g)",
    )
    return made


def main(arguments: list[str] | None = None) -> int:
    """Build the page; 0 when written, 2 when RUN cannot be read as a run folder."""
    chosen = parser().parse_args(arguments)
    try:
        written = build(chosen.run, int(chosen.budget_mib * MEBIBYTE))
    except (OSError, ValueError) as error:
        print(f"reports: {error}", file=sys.stderr)
        return 2
    print(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
