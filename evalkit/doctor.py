"""Checks of what a run needs: interpreter, packages, weights, codecs, write access and disk space."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from evalkit import measures
from evalkit.definition import unique_columns
from evalkit.experiments import Experiment
from evalkit.fingerprint import file_sha256
from evalkit.generator import configured_method
from evalkit.metric_setup import MetricSetup
from evalkit.resolve import Selection

OK, WARN, FAIL = "ok", "warn", "fail"
LEAST_FREE_BYTES = 2 * 2**30
CORE = ("numpy", "torch", "av", "safetensors")
HELPFUL = {
    "rich": "pip install rich",
    "diffusers": "pip install diffusers",
    "espeakng_loader": "pip install espeakng-loader",
    "jinja2": "pip install jinja2",
    "matplotlib": "pip install matplotlib",
}


@dataclass(frozen=True)
class Check:
    """One finding; `fix` says what to do about it."""

    name: str
    state: str
    detail: str
    fix: str = ""


def examine(experiment: Experiment, selection: Selection, out: Path) -> list[Check]:
    """All checks for an experiment whose run will be written to `out`."""
    checks: list[Check] = []
    probes: list[Callable[[], Iterator[Check]]] = [
        _interpreter,
        _packages,
        _codecs,
        lambda: _methods(experiment, selection),
        lambda: _rivals(experiment, selection),
        lambda: _metrics(experiment, selection.metric_setup),
        lambda: _canaries(experiment, selection.metric_setup),
        lambda: _weights(selection.profile),
        lambda: _official_weights(selection.metric_setup),
        lambda: _place(out),
    ]
    for probe in probes:
        checks += probe()
    return checks


def _interpreter() -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Check("python", OK if good else FAIL, version, "" if good else "use Python 3.11 or later")


def _packages() -> Iterator[Check]:
    for name in CORE:
        yield _package(name, FAIL, f"pip install {name}")
    for name, fix in HELPFUL.items():
        yield _package(name, WARN, fix)


def _package(name: str, state_if_missing: str, fix: str) -> Check:
    if importlib.util.find_spec(name) is None:
        return Check(name, state_if_missing, "not installed", fix)
    try:
        version = importlib.metadata.version(name.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        version = "installed"
    return Check(name, OK, version)


def _codecs() -> Iterator[Check]:
    if importlib.util.find_spec("av") is None:
        return
    import av

    for codec, use in (("libx264", "videos"), ("flac", "lossless voices"), ("aac", "voices for players")):
        try:
            av.codec.Codec(codec, "w")
            yield Check(f"codec {codec}", OK, use)
        except ValueError:
            yield Check(f"codec {codec}", FAIL, f"PyAV cannot write {use}", "pip install --force-reinstall av")


def _rivals(experiment: Experiment, selection: Selection) -> Iterator[Check]:
    from evalkit.methods.official import OF_THE_PAPER
    from evalkit.rival_checks import rival_checks

    rows = [row.method for table in experiment.tables for row in table.rows]
    papers = OF_THE_PAPER if set(rows) & set(OF_THE_PAPER) else ()
    yield from rival_checks(dict.fromkeys([*rows, *papers, *selection.methods]), selection)


def _methods(experiment: Experiment, selection: Selection) -> Iterator[Check]:
    from evalkit.methods.official import NAMES

    named = [name for name in selection.methods if name != "all" and name not in NAMES]
    for name in dict.fromkeys([*experiment.methods, *named]):
        method = configured_method(name, selection.generator)
        problem = method.problem(selection.profile)
        yield Check(f"method {name}", FAIL if problem else OK, problem or method.needs)


def _metrics(experiment: Experiment, setup: MetricSetup) -> Iterator[Check]:
    for column in unique_columns(experiment.tables):
        info = measures.describe(column, setup)
        detail = info.reason or measures.backbone_label(info.backbone) or "from speed records"
        yield Check(f"metric {column.metric}", WARN if info.reason else OK, detail)


def _canaries(experiment: Experiment, setup: MetricSetup) -> Iterator[Check]:
    """Every metric of the experiment on a clip whose scores are known."""
    from evalkit.metrics.canaries import check_canaries

    names = [column.metric for column in unique_columns(experiment.tables)]
    states = {"ok": OK, "fail": FAIL, "skipped": WARN}
    for found in check_canaries([name for name in names if not measures.describe_name(name, setup).reason], setup):
        fix = "install the package again" if found["state"] == "fail" else ""
        yield Check(f"canary {found['metric']} ({found['canary']})", states[found["state"]], found["message"], fix)


def _official_weights(setup: MetricSetup) -> Iterator[Check]:
    """Files of official weights that are there but wrong; absent ones are no problem of the nano profile."""
    if not setup.weights:
        return
    from evalkit.metrics.weights_folder import MISSING, PRESENT, UNPINNED, all_ids

    for one in all_ids():
        states = setup.folder.states(one)
        wrong = [state for state in states if state.state not in (PRESENT, UNPINNED, MISSING)]
        if any(state.state != MISSING for state in states):
            detail = "; ".join(f"{state.name}: {state.detail}" for state in wrong) or "as published or pinned"
            fix = f"python -m evalkit weights get {one}" if wrong else ""
            yield Check(f"weights {one}", FAIL if wrong else OK, detail, fix)


def _weights(profile: str) -> Iterator[Check]:
    # Weights that are not shipped are checked by the methods that need them; the metric networks are nano's.
    packages = ("liveavatar", "evalkit.metrics") if profile == "nano" else ("evalkit.metrics",)
    for package in packages:
        folder = _package_folder(package)
        manifest = folder / "weights" / "nano" / "manifest.json" if folder else None
        if manifest is None or not manifest.is_file():
            yield Check(f"weights {package}", FAIL, "no manifest for profile nano", "install the package with its weights")
            continue
        content = json.loads(manifest.read_text(encoding="utf-8"))
        for name, sha256 in sorted(set(_declared(content))):
            path = manifest.parent / name
            good = path.is_file() and file_sha256(path) == sha256
            detail = f"sha256 {sha256[:12]}" if good else "missing or altered"
            yield Check(
                f"weights {package}/{name}", OK if good else FAIL, detail, "" if good else "install the package again"
            )


def _declared(content: object) -> Iterator[tuple[str, str]]:
    """Every {file, sha256} pair in a manifest, however deep; a mapping from file name to entry counts too."""
    if isinstance(content, list):
        for one in content:
            yield from _declared(one)
    if not isinstance(content, dict):
        return
    if isinstance(content.get("file"), str) and isinstance(content.get("sha256"), str):
        yield content["file"], content["sha256"]
    for name, one in content.items():
        if isinstance(one, dict) and isinstance(one.get("sha256"), str) and "file" not in one:
            yield name.removesuffix(".safetensors") + ".safetensors", one["sha256"]
        yield from _declared(one)


def _place(out: Path) -> Iterator[Check]:
    home = next((one for one in (out, *out.absolute().parents) if one.is_dir()), Path())
    try:
        with tempfile.NamedTemporaryFile(dir=home):
            pass
        yield Check("write access", OK, str(home))
    except OSError as error:
        yield Check("write access", FAIL, f"{home}: {error.strerror}", "choose another folder with --out")
        return
    free = shutil.disk_usage(home).free
    state = OK if free >= LEAST_FREE_BYTES else WARN
    yield Check("disk space", state, f"{free / 2**30:.1f} GiB free", "" if state == OK else "free some space or use --out")
    yield Check("processors", OK, f"{os.cpu_count()}")


def _package_folder(package: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return None
    return Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
