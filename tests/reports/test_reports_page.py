"""The page: same bytes for the same store, no network, everything the run holds, nothing it does not."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import reports

VOID = {"meta", "img", "br", "hr", "input", "link", "source", "area", "base", "col", "wbr"}
HOSTILE = "<script>alert('x')</script>\"&"


class Reader(HTMLParser):
    """Collects tags with their attributes and checks that elements close in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes {self.open[-3:]}"
        assert self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def named(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


def build_text(run: Path, **options: int) -> str:
    return reports.build(run, **options).read_text("utf-8")


def change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **fields}), "utf-8")


def policy_of(text: str) -> str:
    metas = Reader(text).named("meta")
    return next(m["content"] for m in metas if m.get("http-equiv") == "Content-Security-Policy")


def test_same_store_gives_same_bytes_wherever_it_lies(run_folder: Path, tmp_path: Path) -> None:
    first = reports.build(run_folder).read_bytes()
    elsewhere = Path(shutil.copytree(run_folder, tmp_path / "other"))
    command = [sys.executable, "-c", f"import reports; reports.build({str(elsewhere)!r})"]
    subprocess.run(command, check=True, cwd=Path(reports.__file__).parents[1])
    assert (elsewhere / "report/index.html").read_bytes() == first
    assert str(run_folder).encode() not in first
    assert [path.name for path in (run_folder / "report").iterdir()] == ["index.html"]


def test_page_refers_to_no_network(page: str) -> None:
    reader = Reader(page)
    for tag, attributes in reader.tags:
        for name in ("src", "href", "xlink:href", "poster", "action", "srcset", "data"):
            address = attributes.get(name) or "#"
            assert address.startswith(("#", "data:")), (tag, name, address[:60])
    assert not re.search(r"https?://", page)
    assert not re.search(r"@import|url\((?!#)", page)
    assert "default-src 'none'" in policy_of(page)
    assert not reader.named("link", "iframe", "object", "embed", "base")


def test_policy_allows_exactly_the_one_script(page: str) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.S)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy_of(page)
    assert not any(name.startswith("on") for _, attributes in Reader(page).tags for name in attributes)


def test_every_video_is_inside_the_page_when_the_budget_allows(run_folder: Path, page: str) -> None:
    videos = Reader(page).named("video")
    files = sorted(run_folder.glob("artefacts/*/*/*/video.mp4"))
    assert len(videos) == len(files) == 12
    inside = sorted(base64.b64decode(video["src"].partition(",")[2]) for video in videos)
    assert inside == sorted(path.read_bytes() for path in files)
    for video in videos:
        assert video["preload"] == "none"
        assert "muted" in video
        assert "controls" in video
        assert "playsinline" in video
        assert video["poster"].startswith("data:image/jpeg")


@pytest.mark.usefixtures("no_drawing")
def test_without_budget_every_video_is_linked_and_exists(run_folder: Path) -> None:
    text = build_text(run_folder, budget_bytes=0)
    videos = Reader(text).named("video")
    assert len(videos) == 12
    for video in videos:
        assert (run_folder / "report" / video["src"]).is_file()
    assert "media-src data: 'self' file:" in policy_of(text)
    assert "12 videos lie in the run folder" in " ".join(text.split())


@pytest.mark.usefixtures("no_drawing")
def test_small_budget_embeds_some_and_links_the_rest(run_folder: Path) -> None:
    sizes = sorted(path.stat().st_size for path in run_folder.glob("artefacts/*/*/*/video.mp4"))
    bare = len(build_text(run_folder, budget_bytes=0).encode())
    budget = bare + 2 * sizes[-1]
    text = build_text(run_folder, budget_bytes=budget)
    sources = [v["src"] for v in Reader(text).named("video")]
    assert len(sources) == 12
    assert 1 <= sum(source.startswith("data:") for source in sources) < 12
    assert len(text.encode()) <= budget


def test_ids_are_unique_and_local_links_lead_somewhere(page: str) -> None:
    reader = Reader(page)
    ids = [attributes["id"] for _, attributes in reader.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = {(a.get("href") or a.get("xlink:href") or "")[1:] for _, a in reader.tags}
    targets = {t for t in targets if t and not t.startswith("ata:")}
    assert targets <= set(ids)


def test_page_keeps_the_basic_rules_of_access(page: str) -> None:
    reader = Reader(page)
    assert reader.named("html")[0]["lang"] == "en"
    assert len(reader.named("h1")) == 1
    assert len(reader.named("main")) == 1
    assert reader.named("nav")
    assert reader.named("header")
    assert reader.named("footer")
    assert all("alt" in image for image in reader.named("img"))
    assert all("scope" in header for header in reader.named("th"))
    assert len(reader.named("caption")) == len(reader.named("table"))
    drawings = [a for _, a in reader.tags if "drawing" in (a.get("class") or "").split()]
    assert drawings
    assert all(a.get("role") == "img" and a.get("aria-label") for a in drawings)
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))


def test_hostile_names_stay_text(run_folder: Path) -> None:
    definition = json.loads((run_folder / "experiment.json").read_text("utf-8"))
    definition["title"] = definition["name"] = HOSTILE
    for group in ("methods", "datasets", "metrics", "tables"):
        for item in definition[group]:
            item["title"] = HOSTILE
    for sample in definition["datasets"][0]["samples"]:
        sample.update(transcript=HOSTILE, style=HOSTILE, composition=HOSTILE)
    (run_folder / "experiment.json").write_text(json.dumps(definition), "utf-8")
    record = next(run_folder.glob("records/score/sync_c/live_avatar/short/*.json"))
    change(record, status="failed", value=None, error={"class": HOSTILE, "message": HOSTILE, "tail": HOSTILE})
    text = build_text(run_folder)
    assert text.count("<script>") == 1
    assert "alert('x')" not in "".join(re.findall(r"<script>(.*?)</script>", text, flags=re.S))
    Reader(text)


@pytest.mark.usefixtures("no_drawing")
def test_paths_that_leave_the_run_are_not_read(run_folder: Path) -> None:
    secret = run_folder.parent / "secret.png"
    shutil.copy(next(run_folder.glob("datasets/short/*.png")), secret)
    definition = json.loads((run_folder / "experiment.json").read_text("utf-8"))
    for dataset in definition["datasets"]:
        for sample in dataset["samples"]:
            sample["image"] = "../secret.png"
    (run_folder / "experiment.json").write_text(json.dumps(definition), "utf-8")
    assert "no reference picture in the run folder" in build_text(run_folder)


@pytest.mark.parametrize("arguments", [["--help"], ["no-such-folder"]])
def test_command_line_answers_without_loading_the_drawing_library(arguments: list[str]) -> None:
    code = (
        "import sys, reports.__main__ as command\n"
        "try:\n    code = command.main(sys.argv[1:])\nexcept SystemExit as stop:\n    code = stop.code\n"
        "wanted = 0 if '--help' in sys.argv else 2\n"
        "assert code == wanted, code\n"
        "assert wanted or 'matplotlib' not in sys.modules\n"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(reports.__file__).parents[1])
    assert done.returncode == 0, done.stderr
    if arguments == ["--help"]:
        assert "python -m reports runs/table2" in done.stdout
    else:
        assert "holds no experiment.json" in done.stderr


def test_reports_imports_none_of_its_neighbours() -> None:
    for source in Path(reports.__file__).parent.rglob("*.py"):
        assert not re.search(r"^\s*(?:from|import) (?:evalkit|liveavatar|genbench)\b", source.read_text("utf-8"), re.M)
