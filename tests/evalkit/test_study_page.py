"""The rating page in a real browser, from a file, with the network off and by keyboard alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from evalkit.study.design import INSTRUCTED, design_study
from evalkit.study.page import render_page
from tests.evalkit.chromium import browser, find_chromium
from tests.evalkit.fake_system import write_video

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="no Chromium here; CHROMIUM names one")


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
        assert page.value("document.activeElement.id") == "start", "the keyboard is where it is needed"
        page.press("Enter")
        assert page.value("document.getElementById('progress').textContent") == f"Pair 1 of {count}"
        page.press("l")
        page.wait_for("document.getElementById('left-video').currentTime > 0")
        page.press("r")
        page.wait_for("document.getElementById('right-video').currentTime > 0")
        page.press("Enter")
        assert "rate every line" in page.value("document.getElementById('said').textContent")
        page.press(*"543")
        page.press("ArrowUp", "2")  # the third line again: 3 becomes 2
        page.press(*"123", "Enter")
        assert page.value("document.getElementById('progress').textContent") == f"Pair 2 of {count}"
        page.press("Backspace")
        assert page.value("document.querySelector('input[name=left-consistency]:checked').value") == "2"
        page.press("Enter")
        order = page.value("JSON.stringify(JSON.parse(localStorage.getItem(localStorage.key(0))).order)")
        assert (page.requests, page.errors) == ([], [])

    with browser(tmp_path / "profile") as page:  # another day, another process
        page.open(page_file)
        assert page.value("document.getElementById('said').textContent").startswith(("Welcome back", "Pair 2"))
        assert page.value("document.getElementById('progress').textContent") == f"Pair 2 of {count}"
        assert page.value("JSON.stringify(JSON.parse(localStorage.getItem(localStorage.key(0))).order)") == order
        for _ in range(count - 1):
            told = page.value("!document.getElementById('instruction').hidden")
            page.press(*("555111" if told else "432345"), "Enter")
        assert page.value("!document.getElementById('end').hidden")
        assert page.value("document.activeElement.id") == "save"
        text = page.value("document.getElementById('answers').value")
        saved = page.value("fetch(document.getElementById('save').href).then(r => r.text()).catch(() => 'refused')")
        assert saved in (text, "refused"), "the policy lets nothing be fetched; a browser may make an exception for blobs"
        complaints = [one for one in page.errors if "Fetch" not in one and "connect" not in one.lower()]
        assert (page.requests, complaints) == ([], [])

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
            page.press("Enter")
            held = json.loads(page.value("localStorage.getItem(localStorage.key(0))"))
            assert sorted(held["order"]) == list(range(len(study.trials)))
            found.append((held["rater"], held["order"], held["swapped"]))
    assert all(one != other for one, other in zip(*found, strict=True))
