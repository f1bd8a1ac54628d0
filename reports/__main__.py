"""``python -m reports RUN``: build the page of one run, an index over several, or figure files; prints where they are."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reports import build, build_index, write_figures
from reports.budget import DEFAULT_BUDGET_BYTES, MEBIBYTE

EXAMPLE = """example:
  python -m reports runs/table2
  python -m reports runs/table2 --mode folder --out page    # page and videos in a folder of their own
  python -m reports runs/table2 --figures                   # SVG and PDF for a manuscript
  python -m reports runs --index runs/index.html            # all runs of a folder, with trends
"""


def parser() -> argparse.ArgumentParser:
    """The command line, with a working example in its help."""
    made = argparse.ArgumentParser(
        prog="python -m reports",
        description="Write RUN/report/index.html, one offline page, from the files of a run folder.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="run folder, the one that holds experiment.json")
    made.add_argument("--mode", choices=("auto", "single", "folder"), default="auto", help="where videos go; default: auto")
    made.add_argument("--out", type=Path, metavar="FOLDER", help="write the page (or figures) here, with what it links to")
    made.add_argument("--figures", action="store_true", help="write figure files instead of a page")
    made.add_argument("--index", type=Path, metavar="FILE.html", help="write one page over all these runs")
    made.add_argument(
        "--budget-mib",
        type=float,
        default=DEFAULT_BUDGET_BYTES / MEBIBYTE,
        help="size of the page in MiB; videos that do not fit are linked (default %(default)g)",
    )
    return made


def main(arguments: list[str] | None = None) -> int:
    """Build the page; 0 when written, 2 when RUN cannot be read as a run folder."""
    chosen = parser().parse_args(arguments)
    try:
        if chosen.index:
            written = [build_index(chosen.runs, chosen.index)]
        elif chosen.figures:
            written = [path for run in chosen.runs for path in write_figures(run, chosen.out)]
        else:
            written = [build(run, int(chosen.budget_mib * MEBIBYTE), chosen.out, chosen.mode) for run in chosen.runs]
    except (OSError, ValueError) as error:
        print(f"reports: {error}", file=sys.stderr)
        return 2
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
