"""The command line: verbs and their options. Bodies are in `commands`, imported when a verb is chosen."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """\
A full example, from a fresh clone to a report and its table:

  python -m evalkit list
  python -m evalkit doctor table2
  python -m evalkit run table2
  python -m evalkit status runs/table2-quick
  python -m evalkit table runs/table2-quick
  python -m evalkit verify runs/table2-quick

A second identical `run` computes nothing again; Ctrl-C leaves a run that the same command continues.
Exit codes: 0 complete, 1 complete with failed records, 2 bad definition or missing prerequisite, 3 gate failed,
130 interrupted (resumable).
"""
RUN_EXAMPLES = """\
examples:
  python -m evalkit run table2
  python -m evalkit run table2 --limit 2 --metrics sync_c,dino_s --out runs/try
  python -m evalkit run ablations --suite full
  python -m evalkit run stress --seconds 600
  python -m evalkit run all --suite quick
  python -m evalkit run table2 --profile s2v-14b --weights ckpt --out runs/table2-14b
  python -m evalkit run table2 --retry-failed
  python -m evalkit run table2 --methods live_avatar,ditto,videos:theirs --out runs/rivals
  python -m evalkit run table2 --suite full --shard 3/8 --out /shared/runs/table2
  python -m evalkit run table2 --suite full --executor ray --out /shared/runs/table2
"""
COMPARE_EXAMPLES = """\
examples:
  python -m evalkit compare runs/before runs/after
  python -m evalkit compare runs/before runs/after --gate gates.toml
  python -m evalkit compare runs/ablations-quick --gate gates.toml
"""
REPORT_EXAMPLES = """\
examples:
  python -m evalkit report runs/table2-quick
  python -m evalkit report runs/table2-quick --mode folder --to page
  python -m evalkit report runs/table2-quick --figures --to figures
  python -m evalkit report runs --index runs/index.html
"""
PLAN_EXAMPLES = "example:\n  python -m evalkit plan table2 --limit 2\n"
LIST_EXAMPLES = "examples:\n  python -m evalkit list\n  python -m evalkit list metrics --json\n"
DOCTOR_EXAMPLES = """\
examples:
  python -m evalkit doctor table2 --out runs/table2-quick
  python -m evalkit doctor table2 --methods ditto,wan_s2v
"""


STUDY_EXAMPLES = """\
examples:
  python -m evalkit study build runs/table2-quick --limit 4
  python -m evalkit study score answers --key runs/table2-quick/study/key.json
"""


SCORE_EXAMPLES = """\
examples:
  python -m evalkit score videos
  python -m evalkit score videos --audio voices --portraits pictures --real real_videos --out scores
  python -m evalkit score videos --metrics sync_c,dino_s --backbones official --metric-weights weights
  python -m evalkit score runs/table2-quick --metrics sync_c
"""
WEIGHTS_EXAMPLES = """\
examples:
  python -m evalkit weights list
  python -m evalkit weights get syncnet inception
  python -m evalkit weights verify
"""


def run_example(verb: str, more: str = "") -> str:
    """The example of a verb that works on a finished run."""
    return f"example:\n  python -m evalkit {verb} runs/table2-quick{more}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    options = build_parser().parse_args(arguments)
    from evalkit import commands
    from evalkit.errors import EvalkitError

    try:
        return int(getattr(commands, options.command)(options))
    except EvalkitError as error:
        print(f"evalkit: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nevalkit: interrupted; the same command continues", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        from evalkit.errors import is_disk_full

        if not is_disk_full(error):
            raise
        print("evalkit: no space left on the disk; free some and run the same command again", file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    """All verbs."""
    parser = argparse.ArgumentParser(
        prog="python -m evalkit",
        description="Run talking-video systems over test sets, measure them, and write tables that can be trusted.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    listing = _verb(verbs, "list", "list_names", "what can be named, one line each", LIST_EXAMPLES)
    listing.add_argument("what", nargs="?", help="methods, metrics, datasets or experiments; default: all of them")
    _selections(listing)
    plan = _verb(verbs, "plan", "plan", "what a run would do, and why any record is stale", PLAN_EXAMPLES)
    _experiment(plan)
    doctor = _verb(verbs, "doctor", "doctor", "check interpreter, packages, weights, codecs and disk", DOCTOR_EXAMPLES)
    _experiment(doctor, default="table2")
    run = _verb(verbs, "run", "run", "plan, generate, score, then write tables and the report", RUN_EXAMPLES)
    _experiment(run)
    _gate(run)
    _placing(run)
    status = _verb(verbs, "status", "status", "counts, rate, time left and failing records", run_example("status"))
    _run_folder(status)
    score = _verb(verbs, "score", "score", "score any folder of videos, or a run's missing or stale records", SCORE_EXAMPLES)
    _run_folder(score)
    _placing(score)
    score.add_argument("--force", action="store_true", help="compute all selected scores again, from stored features")
    _any_folder(score)
    table = _verb(verbs, "table", "table", "print tables with intervals and denominators", run_example("table", " --json"))
    _run_folder(table)
    table.add_argument("--format", choices=("md", "csv", "tex"), default="md", help="default: md")
    compare = _verb(verbs, "compare", "compare", "paired differences of two runs, or the gates of one", COMPARE_EXAMPLES)
    _run_folder(compare)
    compare.add_argument("other", type=Path, nargs="?", metavar="RUN_B", help="the run that is compared with the first")
    _gate(compare)
    report = _verb(
        verbs, "report", "report", "write the HTML report, figure files, or a page over many runs", REPORT_EXAMPLES
    )
    _run_folder(report)
    report.add_argument("others", nargs="*", type=Path, metavar="RUN", help="more runs")
    report.add_argument(
        "--mode", choices=("auto", "single", "folder"), default="auto", help="where videos go; default: auto"
    )
    report.add_argument("--to", type=Path, metavar="FOLDER", help="write there, with all that the page links to")
    report.add_argument("--figures", action="store_true", help="write SVG, PDF and PNG files instead of a page")
    report.add_argument("--index", type=Path, metavar="FILE.html", help="also write a page over all these runs, with trends")
    about = "list, get or verify the official networks of the metrics"
    weights = _verb(verbs, "weights", "weights", about, WEIGHTS_EXAMPLES)
    weights.add_argument("action", choices=("list", "get", "verify"))
    weights.add_argument("ids", nargs="*", metavar="ID", help="such as syncnet; default for list and verify: all")
    weights.add_argument(
        "--metric-weights", default="", metavar="FOLDER", help="default: $EVALKIT_WEIGHTS or ~/.cache/evalkit"
    )
    weights.add_argument("--json", action="store_true", help="print JSON instead of text")
    verify = _verb(verbs, "verify", "verify", "hash every artefact again and list what is missing", run_example("verify"))
    _run_folder(verify)
    _study(verbs)
    return parser


def _study(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`study` has verbs of its own."""
    study = _verb(verbs, "study", "study", "rate clips by eye: a page for raters, a table of answers", STUDY_EXAMPLES)
    parts = study.add_subparsers(required=True, metavar="PART", dest="part")
    build = parts.add_parser("build", help="write the rating page of a run, and its key")
    build.add_argument("run", type=Path, metavar="RUN")
    build.add_argument("--methods", type=_comma_list, default=(), metavar="A,B", help="default: all but the control rows")
    build.add_argument("--dataset", default="", help="default: the run's first set")
    build.add_argument("--limit", type=int, metavar="N", help="first N samples")
    build.add_argument("--seed", type=int, default=0, help="of the pairing; ids are drawn anew each time")
    build.add_argument("--out", type=Path, help="default: RUN/study")
    score = parts.add_parser("score", help="turn saved answers into a table")
    score.add_argument("files", type=Path, nargs="+", metavar="FILES", help="saved answers, or folders of them")
    score.add_argument("--key", type=Path, required=True, help="the key.json that `study build` wrote")
    score.add_argument("--out", type=Path, help="folder for study.json and study.md")
    score.add_argument("--json", action="store_true", help="print JSON instead of text")


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, command: str, help_text: str, examples: str
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=help_text,
        description=help_text[0].upper() + help_text[1:] + ".",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=command)
    return parser


def _experiment(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    parser.add_argument(
        "experiment", nargs="?" if default else None, default=default, help="table2, ablations, stress, all ...: see list"
    )
    _selections(parser)


def _placing(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where jobs run")
    group.add_argument("--executor", default="local", help="local, or ray for a cluster; default: local")
    group.add_argument("--gpus", type=_comma_list, metavar="0,1", help="devices for local jobs; default: all that are seen")
    group.add_argument("--parallel", type=int, default=1, metavar="N", help="jobs at once on this machine; default: 1")
    group.add_argument("--shard", type=_shard, metavar="I/N", help="only this share of the work, 1/N to N/N")


def _gate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gate", type=Path, metavar="FILE.toml", help="promises to check; a broken one gives exit code 3")


def _run_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="FOLDER", help="a run folder, such as runs/table2-quick")
    _selections(parser)


def _any_folder(parser: argparse.ArgumentParser) -> None:
    """What belongs to videos that no run made; files are matched by name without suffix."""
    group = parser.add_argument_group("a folder of videos")
    group.add_argument("--audio", type=Path, metavar="FOLDER", help="voices, heard instead of the videos' own sound")
    group.add_argument("--portraits", type=Path, metavar="FOLDER", help="pictures for Dino-S; else each first picture")
    group.add_argument("--real", type=Path, metavar="FOLDER", help="real videos, for FID, KID and FVD")
    group.add_argument("--boxes", type=Path, metavar="FILE", help="JSON of relative face boxes [x0, y0, x1, y1] by name")


def _selections(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("selections")
    for name in ("methods", "metrics", "samples", "seeds"):
        group.add_argument(f"--{name}", type=_comma_list, default=(), metavar="A,B", help=f"only these {name}, or all")
    group.add_argument("--limit", type=int, metavar="N", help="first N samples of a fixed shuffled order; marked partial")
    group.add_argument("--suite", default="quick", help="quick or full; default: quick")
    group.add_argument("--profile", default="nano", help="nano or s2v-14b; default: nano")
    group.add_argument("--weights", default="", metavar="FOLDER", help="the generator's weights; s2v-14b needs them")
    group.add_argument("--size", default="", metavar="WxH", help="pixels of generated videos; default: the profile's")
    group.add_argument("--device", default="cpu", help="torch device of the generator; default: cpu")
    group.add_argument("--dtype", default="", choices=("float32", "bfloat16"), help="default: as the device suits")
    group.add_argument("--fp8", action="store_true", help="the generator's linear layers in 8 bits")
    group.add_argument("--offload", action="store_true", help="text encoder and transformer blocks wait in host memory")
    group.add_argument(
        "--settings", default="", metavar="FILE", help="where other systems lie; default: evalkit.toml, if it is here"
    )
    group.add_argument(
        "--set", dest="assigned", action="append", default=[], metavar="KEY=VALUE",
        help="one setting, such as systems.ditto.checkout=PATH",
    )  # fmt: skip
    networks = parser.add_argument_group("networks of the metrics")
    networks.add_argument(
        "--backbones", choices=("nano", "official", "auto"), default="", help="default: nano; auto with --profile s2v-14b"
    )
    networks.add_argument(
        "--metric-weights",
        default="",
        metavar="FOLDER",
        help="official weights; default: $EVALKIT_WEIGHTS or ~/.cache/evalkit",
    )
    networks.add_argument("--metric-device", default="", metavar="DEVICE", help="of official networks; default: as --device")
    networks.add_argument(
        "--metric-python",
        action="append",
        default=[],
        metavar="EXTRACTOR=PYTHON",
        help="run an extractor in another interpreter, such as quality=envs/qalign/bin/python",
    )
    group.add_argument("--out", type=Path, metavar="RUN", help="run folder; default: runs/EXPERIMENT-SUITE")
    group.add_argument("--seconds", type=float, help="length of a stress stream; default: 10010")
    group.add_argument("--json", action="store_true", help="print JSON instead of text")
    group.add_argument("--retry-failed", action="store_true", help="try failed records again")
    group.add_argument("--threads", type=int, help="processor threads of a worker; default: as the libraries choose")
    group.add_argument("--plugin", action="append", default=[], metavar="FILE.py", help="register more methods or metrics")


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r}: give i/n with i from 1 to n, such as 2/8")
    return int(number), int(count)


def _comma_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
