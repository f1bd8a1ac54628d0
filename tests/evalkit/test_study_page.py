"""The rating page in a real browser, from a file, with the network off and by keyboard alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from evalkit.study.design import INSTRUCTED, design_study
from evalkit.study.page import render_page
from tests.evalkit.fake_system import write_video
from tests.reports.chromium import Chromium, find_chromium

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")
KEYS = {"Enter": (13, "\r"), "Backspace": (8, ""), "ArrowUp": (38, "")}


@contextmanager
def browser(home: Path) -> Iterator[Chromium]:
    """A new browser process that uses, and keeps, what pages left in `home`."""
    opened = Chromium(home)
    try:
        yield opened
    finally:
        opened.close()


def press(page: Chromium, *keys: str) -> None:
    """Real key presses, as a keyboard makes them."""
    for key in keys:
        code, text = KEYS.get(key, (ord(key.upper()[0]), key))
        page.press(key, code, text)


def test_rating_by_keyboard_resuming_after_closing_and_saving(tmp_path: Path) -> None:
    study = design_study([(method, f"s{i}", 0.4) for i in range(2) for method in ("a", "b")], seed=1, salt="x")
    videos, pictures = {}, {}
    for number, one in enumerate(study.clips):
        videos[one.id] = tmp_path / f"{number}.mp4"
        write_video(videos[one.id], 10, 25, (64, 64))
        pictures[one.sample] = tmp_path / f"{one.sample}.png"
        Image.new("RGB", (32, 32), (90, 120, 150)).save(pictures[one.sample])
    page_file = tmp_path / "page.html"
    page_file.write_text(render_page(study, videos, pictures), encoding="utf-8")
    instructed = {one.id for one in study.trials if one.kind == INSTRUCTED}
    count = len(study.trials)

    with browser(tmp_path / "profile") as page:
        page.open(page_file)
        assert page.run("document.activeElement.id") == "start", "the keyboard is where it is needed"
        press(page, "Enter")
        assert page.run("document.getElementById('progress').textContent") == f"Pair 1 of {count}"
        press(page, "l")
        page.run_until("document.getElementById('left-video').currentTime > 0")
        press(page, "r")
        page.run_until("document.getElementById('right-video').currentTime > 0")
        press(page, "Enter")
        assert "rate every line" in page.run("document.getElementById('said').textContent")
        press(page, *"543")
        press(page, "ArrowUp", "2")  # the third line again: 3 becomes 2
        press(page, *"123", "Enter")
        assert page.run("document.getElementById('progress').textContent") == f"Pair 2 of {count}"
        press(page, "Backspace")
        assert page.run("document.querySelector('input[name=left-consistency]:checked').value") == "2"
        press(page, "Enter")
        order = page.run("JSON.stringify(JSON.parse(localStorage.getItem(localStorage.key(0))).order)")
        assert (page.requests(), page.complaints()) == ([page_file.as_uri()], [])

    with browser(tmp_path / "profile") as page:  # another day, another process
        page.open(page_file)
        assert page.run("document.getElementById('said').textContent").startswith(("Welcome back", "Pair 2"))
        assert page.run("document.getElementById('progress').textContent") == f"Pair 2 of {count}"
        assert page.run("JSON.stringify(JSON.parse(localStorage.getItem(localStorage.key(0))).order)") == order
        for _ in range(count - 1):
            told = page.run("!document.getElementById('instruction').hidden")
            press(page, *("555111" if told else "432345"), "Enter")
        assert page.run("!document.getElementById('end').hidden")
        assert page.run("document.activeElement.id") == "save"
        text = page.run("document.getElementById('answers').value")
        saved = page.run("fetch(document.getElementById('save').href).then(r => r.text()).catch(() => 'refused')")
        assert saved in (text, "refused"), "the policy lets nothing be fetched; a browser may make an exception for blobs"
        complaints = [one for one in page.complaints() if "Fetch" not in one and "connect" not in one.lower()]
        assert (page.requests(), complaints) == ([page_file.as_uri()], [])

    content = json.loads(text)
    assert content["study"] == study.id
    assert content["rater"].startswith("r")
    assert len(content["answers"]) == count
    assert {one["trial"] for one in content["answers"]} == {one.id for one in study.trials}
    first = content["answers"][0]
    if first["trial"] not in instructed:
        assert first["ratings"]["left"] == {"naturalness": 5, "synchronisation": 4, "consistency": 2}
    assert first["plays"] == {"left": 1, "right": 1}
    (answers := tmp_path / "answers.json").write_text(text)

    from evalkit.study.answers import read_answers

    assert len(read_answers([answers], study)[0].answers) == count


def test_every_rater_has_an_order_of_their_own(tmp_path: Path) -> None:
    study = design_study([(method, f"s{i}", 0.4) for i in range(6) for method in ("a", "b")], seed=1, salt="x")
    for one in study.clips:
        (tmp_path / f"{one.id}.mp4").write_bytes(b"")
    videos = {one.id: tmp_path / f"{one.id}.mp4" for one in study.clips}
    page_file = tmp_path / "page.html"
    page_file.write_text(render_page(study, videos, {one.sample: tmp_path / f"{one.id}.mp4" for one in study.clips}))
    found = []
    for rater in ("one", "other"):
        with browser(tmp_path / rater) as page:
            page.open(page_file)
            press(page, "Enter")
            held = json.loads(page.run("localStorage.getItem(localStorage.key(0))"))
            assert sorted(held["order"]) == list(range(len(study.trials)))
            found.append((held["rater"], held["order"], held["swapped"]))
    assert all(one != other for one, other in zip(*found, strict=True))
