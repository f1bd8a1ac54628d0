"""What the verbs of genbench do, and what they print."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from genbench.cli import EXIT_INCOMPLETE, EXIT_OK
from genbench.progress import Progress


def list_all(options: argparse.Namespace) -> int:
    """Sets, suites and generators."""
    from genbench.providers import ALL, provider_class
    from genbench.spec import SETS

    print(f"{'set':9} {'suite':6} {'samples':>7}  {'each':>12}  what for")
    for (name, suite), size in SETS.items():
        low, high = size.duration_s
        print(f"{name:9} {suite:6} {size.samples:7}  {f'{low:g}-{high:g} s':>12}  {size.purpose}")
    print(f"\n{'makes':7} {'generator':11} what and what it needs (the first of each kind is the default)")
    for role, names in ALL.items():
        for name in names:
            found = provider_class(role, name)
            print(f"{role:7} {name:11} {found.purpose}; needs {found.needs}")
    print("\nbuild one: python -m genbench build --set short --suite quick --out data/genbench")
    return EXIT_OK


def build(options: argparse.Namespace) -> int:
    """Make or finish a set."""
    from genbench.build import build_set
    from genbench.script_writing import text_estimate

    production, specs = _planned(options)
    estimate = text_estimate(specs.samples, production)
    if options.dry_run:
        _print_plan(specs, production, estimate)
        return EXIT_OK
    if estimate:
        print(f"words by {production.text}, about: {_cost_line(estimate)}")
    _use_one_thread(production)
    # A limited set is another set: it never stands in the way of the whole one.
    part = "" if options.limit is None else f"_first{len(specs.samples)}"
    folder = options.out / f"{options.set_name}_{options.suite}{part}"
    progress = Progress(len(specs.samples), "samples")
    try:
        manifest = build_set(specs, folder, progress.step, production, options.workers)
    finally:
        progress.close()
    print(f"{manifest.name} ({manifest.suite}): {len(manifest.samples)} samples, digest {manifest.digest[:16]}, in {folder}")
    if manifest.usage:
        print(f"words by {production.text}, counted: {_cost_line(manifest.usage)}")
    for one in manifest.left_out:
        print(f"left out: {one['id']}: {'; '.join(one['reasons'])}")
    boxless = sum(sample.face_box is None for sample in manifest.samples)
    if boxless:
        print(f"{boxless} samples have no face box: draw them by hand and repeat the command with --boxes FILE")
    print(f"next: python -m genbench check {folder}")
    return EXIT_INCOMPLETE if manifest.left_out else EXIT_OK


def check(options: argparse.Namespace) -> int:
    """Re-hash a set and run its gate again."""
    from genbench.checking import check_set

    gate = None
    if options.config is not None:
        from genbench.production import read_gate

        gate = read_gate(options.config)
    findings = check_set(options.folder, gate, with_gate=not options.hashes_only)
    manifest = findings.manifest
    for line in findings.failures:
        print(f"failed: {line}")
    for name, count in findings.not_done.items():
        print(f"not done: {name} on {count} samples")
    what = "every file as made" if options.hashes_only else f"every file as made, {findings.done} checks done"
    verdict = f"{len(findings.failures)} failed" if findings.failures else "none failed"
    print(
        f"{manifest.name} ({manifest.suite}): {len(manifest.samples)} samples, {what}, {verdict}, "
        f"digest {manifest.digest[:16]}"
    )
    return EXIT_INCOMPLETE if findings.failures else EXIT_OK


def card(options: argparse.Namespace) -> int:
    """Write the data card."""
    from genbench.card import write_card

    out = options.out or options.folder / "card"
    for path in write_card(options.folder, out):
        print(path)
    return EXIT_OK


def import_set(options: argparse.Namespace) -> int:
    """Take in an exported set, or cut one from videos."""
    if (options.source is None) == (options.videos is None):
        raise ValueError("give either an exported set, or --videos FOLDER")
    if options.videos is None:
        from genbench.exchange import import_exported

        manifest = import_exported(options.source, options.out)
    else:
        from genbench.in_domain import ImportOptions, import_videos
        from genbench.production import read_boxes

        wanted = ImportOptions(
            clips=options.clips,
            held_out=options.held_out,
            seconds=tuple(options.seconds),
            rules=tuple(options.keep),
            seed=options.seed,
            licence=options.licence,
            consent=options.consent,
        )
        boxes = read_boxes(options.boxes) if options.boxes else {}
        prompts = _read_object(options.prompts) if options.prompts else {}
        progress = Progress(options.clips, "clips")
        try:
            manifest = import_videos(options.videos, options.out, wanted, options.scores, boxes, prompts, progress.step)
        finally:
            progress.close()
        for one in manifest.left_out:
            print(f"left out: {one['id']}: {'; '.join(one['reasons'])}")
    print(
        f"{manifest.name} ({manifest.suite}): {len(manifest.samples)} samples, digest {manifest.digest[:16]}, "
        f"in {options.out}"
    )
    return EXIT_OK


def export(options: argparse.Namespace) -> int:
    """Write a set in another form."""
    from genbench import exchange

    if options.form == "long-audio":
        paths = exchange.export_long_audio(options.folder, options.out, options.seconds)
    else:
        paths = exchange.export_set(
            options.folder,
            options.out,
            options.form,
            with_truth=not options.without_truth,
            shard_samples=options.shard_samples,
            own_use=options.own_use,
        )
    print(f"{len(paths)} files in {options.out}")
    return EXIT_OK


def shards(options: argparse.Namespace) -> int:
    """Write training shards."""
    from genbench.shards import ShardPlan, export_shards

    _use_one_thread()
    plan = ShardPlan(options.clips, options.out, options.frames, options.seed, options.shard_size, options.start)
    progress = Progress(len(plan.shards()), "shards")
    try:
        for _, made_now in export_shards(plan, options.workers):
            progress.step(made_now)
    finally:
        progress.close()
    print(f"{progress.finished} shards ({progress.made} new), {plan.clips} clips of {plan.frames} frames, in {plan.out}")
    return EXIT_OK


def _planned(options: argparse.Namespace) -> tuple[Any, Any]:
    """(production, specs) of a build command."""
    from dataclasses import replace

    from genbench.own_specs import own_set
    from genbench.production import read_boxes, read_production
    from genbench.spec import SETS, draw_set

    given: dict[str, Any] = {name: getattr(options, name) for name in ("text", "image", "speech", "licence", "consent")}
    given["boxes"] = read_boxes(options.boxes) if options.boxes else None
    folders = {"image": options.pictures, "speech": options.recordings}
    production = read_production(
        options.config, folders={role: str(path) for role, path in folders.items() if path}, **given
    )
    size = SETS[options.set_name, options.suite]
    if options.limit is not None:
        size = replace(size, samples=min(options.limit, size.samples))
    own = {role: _own_folder(production, role) for role in ("image", "speech")}
    if any(own.values()):
        kind = "nano" if production.kind == "files" else production.kind
        asked = (options.set_name, options.suite, options.seed)
        return production, own_set(*asked, own["image"], own["speech"], kind, size, options.limit)
    return production, draw_set(options.set_name, options.suite, options.seed, size, production.kind, production.languages)


def _own_folder(production: Any, role: str) -> Path | None:
    if getattr(production, role) != "files":
        return None
    folder = production.options.get(role, {}).get("folder")
    if not folder:
        raise ValueError(f"{role} provider 'files' needs a folder: --{'pictures' if role == 'image' else 'recordings'} DIR")
    return Path(folder)


def _print_plan(specs: Any, production: Any, estimate: dict[str, Any]) -> None:
    from genbench.coverage import coverage_lines

    seconds = sum(sample.duration_s for sample in specs.samples)
    print(
        f"{specs.set_name} ({specs.suite}): {len(specs.samples)} samples, {seconds / 60:.1f} minutes of speech; words by "
        f"{production.text}, pictures by {production.image}, speech by {production.speech}"
    )
    print("\n".join(coverage_lines([(s.style, s.framing, s.view) for s in specs.samples])))
    if estimate:
        print(f"estimated, one attempt each: {_cost_line(estimate)}")


def _cost_line(usage: dict[str, Any]) -> str:
    cost = (
        f", {usage['cost']:g} in the currency of your prices" if "cost" in usage else " (no prices set: price_in, price_out)"
    )
    return f"{usage['requests']} requests, {usage['input_tokens']} tokens in, {usage['output_tokens']} tokens out{cost}"


def _read_object(file: Path) -> dict[str, str]:
    record = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise ValueError(f"{file}: give a JSON object from video name to prompt")
    return {str(name): str(value) for name, value in record.items()}


def _use_one_thread(production: Any = None) -> None:
    """The pictures are small: threads gain little, and on a busy machine they cost fifty times the work."""
    if production is not None and production.image != "nano_world":
        return
    import torch

    torch.set_num_threads(1)
