"""The page in a real browser with the network off: silent, sortable by keyboard, playable, legible in both themes.

Access is checked twice: by axe (which the test extra installs) and by `access_rules.js`, which holds rules beyond it.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import reports
from tests.reports.chromium import Chromium, find_chromium

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")
_AXE_PACKAGE = importlib.util.find_spec("axe_core_python")
AXE = Path(_AXE_PACKAGE.origin).with_name("axe.min.js") if _AXE_PACKAGE and _AXE_PACKAGE.origin else None
RULES = Path(__file__).with_name("access_rules.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    made = Chromium()
    yield made
    made.close()


@pytest.fixture(scope="module")
def pages(_made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One run's page, all in one file and as a folder, and an index over two runs."""
    root = tmp_path_factory.mktemp("browser")
    run = Path(shutil.copytree(_made, root / "runs" / "first"))
    second = Path(shutil.copytree(_made, root / "runs" / "second"))
    cells = json.loads((second / "table/cells.json").read_text("utf-8"))
    for cell in cells:
        cell["value"] = cell["value"] and cell["value"] + 0.1
    (second / "table/cells.json").write_text(json.dumps(cells), "utf-8")
    return {
        "single": reports.build(run),
        "folder": reports.build(run, out=root / "elsewhere", mode="folder"),
        "index": reports.build_index([root / "runs"], root / "runs" / "index.html"),
    }


@pytest.mark.parametrize("name", ["single", "folder", "index"])
def test_a_page_asks_nothing_and_complains_of_nothing(browser: Chromium, pages: dict[str, Path], name: str) -> None:
    browser.media()
    browser.open(pages[name])
    browser.run("new Promise((done) => setTimeout(done, 300))")
    assert browser.requests() == [pages[name].resolve().as_uri()]
    assert browser.complaints() == []


def test_wide_tables_scroll_by_themselves_and_the_page_does_not(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["single"])
    browser.run("document.querySelectorAll('.scroll table').forEach((one) => (one.style.width = '3000px'))")
    assert browser.run("document.querySelector('.scroll:has(table)').scrollWidth > 2000")
    assert browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("name", ["single", "folder"])
def test_videos_play(browser: Chromium, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name])
    played = browser.run(
        """(async () => {
          const video = document.querySelector("video");
          video.muted = true;
          await video.play();
          await new Promise((done) => {
            video.ontimeupdate = () => { if (video.currentTime > 0.05) done(); };
            video.onended = done;
          });
          return [video.currentTime > 0, video.videoWidth, video.videoHeight, video.error === null];
        })()"""
    )
    assert played == [True, 96, 128, True]
    asked = [url for url in browser.requests() if not url.endswith("index.html")]
    assert all(url.startswith("file:") for url in asked)
    assert bool(asked) == (name == "folder")


def test_a_table_is_sorted_by_keyboard_and_says_so(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["single"])
    column = """(() => {
      const table = document.querySelector("#sample-table"), heads = Array.from(table.tHead.rows[0].cells);
      const at = heads.findIndex((th) => th.classList.contains("num"));
      const values = Array.from(table.tBodies[0].rows).map((row) => row.cells[at].dataset.sort);
      return {values: values.filter((v) => v !== "").map(Number), sort: heads[at].getAttribute("aria-sort")};
    })()"""
    browser.run('document.querySelector("#sample-table th.num button").focus()')
    browser.press("Enter", 13, "\r")
    outline = browser.run("getComputedStyle(document.activeElement).outlineStyle")
    once = browser.run(column)
    assert once["sort"] == "descending"
    assert once["values"] == sorted(once["values"], reverse=True)
    assert "Sorted by" in browser.run('document.getElementById("live").textContent')
    browser.press(" ", 32, " ")
    again = browser.run(column)
    assert again["sort"] == "ascending"
    assert again["values"] == sorted(again["values"])
    assert outline != "none", "what has the focus is visible"


def test_everything_that_acts_is_reached_by_tab(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["single"])
    reached = browser.run(
        'Array.from(document.querySelectorAll("button, a[href], select, summary, video")).every((one) => one.tabIndex >= 0)'
    )
    assert reached
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.className") == "skip"
    browser.press("Enter", 13, "\r")
    assert browser.run("document.activeElement.id") == "content"


@pytest.mark.parametrize("name", ["single", "index"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_rule_of_access_is_broken(browser: Chromium, pages: dict[str, Path], name: str, scheme: str) -> None:
    browser.media(prefers_color_scheme=scheme)
    browser.open(pages[name])
    browser.run('document.querySelectorAll("details").forEach((one) => { one.open = true; })')
    assert browser.run(RULES) == []
    browser.media()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["single", "folder", "index"])
def test_axe_finds_nothing_serious(browser: Chromium, pages: dict[str, Path], name: str, scheme: str) -> None:
    if AXE is None:
        pytest.skip("axe is not installed: python -m pip install axe-core-python")
    browser.media(prefers_color_scheme=scheme)
    browser.open(pages[name])
    browser.run('document.querySelectorAll("details").forEach((one) => { one.open = true; })')
    browser.run(AXE.read_text(encoding="utf-8") + ";0")
    found = browser.run("axe.run(document, {resultTypes: ['violations']}).then((all) => JSON.parse(JSON.stringify(all)))")
    assert len(found["passes"]) > 10
    serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in serious] == []
    browser.media()


def test_axe_would_find_what_is_serious(browser: Chromium, tmp_path: Path) -> None:
    if AXE is None:
        pytest.skip("axe is not installed: python -m pip install axe-core-python")
    page = tmp_path / "bad.html"
    page.write_text("<html><body><img src='x.png'><p style='color:#eee;background:#fff'>pale</p></body></html>", "utf-8")
    browser.open(page)
    browser.run(AXE.read_text(encoding="utf-8") + ";0")
    found = browser.run("axe.run(document).then((all) => all.violations.map((one) => one.id))")
    assert {"image-alt", "color-contrast", "html-has-lang"} <= set(found)


def test_the_dark_theme_is_dark(browser: Chromium, pages: dict[str, Path]) -> None:
    lightness = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number).reduce((a, b) => a + b)"
    browser.media(prefers_color_scheme="light")
    browser.open(pages["single"])
    assert browser.run(lightness) > 600
    browser.media(prefers_color_scheme="dark")
    assert browser.run(lightness) < 150
    browser.media()


def test_print_shows_everything_and_no_controls(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.open(pages["single"])
    browser.media(media="print")
    assert browser.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    folded = "(() => { const one = document.querySelector('details.data:not([open]) table'); return one.offsetHeight; })()"
    assert browser.run(folded) > 0
    paper = browser.ask("Page.printToPDF", printBackground=False)
    assert len(paper["data"]) > 20_000
    browser.media()


def test_the_page_is_whole_without_scripts(browser: Chromium, pages: dict[str, Path]) -> None:
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(pages["single"])
        outcome = browser.ask("DOM.getDocument", depth=0)
        found = browser.ask("DOM.querySelectorAll", nodeId=outcome["root"]["nodeId"], selector="tbody tr")
        assert len(found["nodeIds"]) > 20
        hidden = browser.ask("DOM.querySelectorAll", nodeId=outcome["root"]["nodeId"], selector=".filters[hidden]")
        assert len(hidden["nodeIds"]) == 1, "filters that cannot work are not shown"
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)
