"""Altered sets: words and truth stay, pictures change as stated, and the truth is not drawn for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genbench.altered import ALTERATIONS, ALTERED, CROP_SHARE, alter, brighter, cropped, recoloured
from genbench.build import build_set
from genbench.manifest import MANIFEST_NAME, load_manifest
from genbench.picture import read_pixels
from genbench.spec import SetSize, draw_set
from genbench.truth_video import render_truth

pytest.importorskip("espeakng_loader")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "plain"
    build_set(draw_set("minute", "quick", 0, SetSize(3, (2.0, 2.5))), folder)
    return folder


def test_pictures_change_and_nothing_else_does(plain: Path, tmp_path: Path) -> None:
    altered, before = alter(plain, tmp_path / "out", "genbench_outside"), load_manifest(plain)
    again = load_manifest(tmp_path / "out")
    again.verify()
    assert again.digest == altered.digest != before.digest
    assert [sample.source[ALTERED] for sample in again.samples] == list(ALTERATIONS)
    for old, new in zip(before.samples, again.samples, strict=True):
        assert (new.audio, new.prompt, new.transcript, new.truth_file) == (
            old.audio, old.prompt, old.transcript, old.truth_file
        )  # fmt: skip
        assert new.image.sha256 != old.image.sha256
        assert np.array_equal(new.truth().truth.mouth_open, old.truth().truth.mouth_open)
        with pytest.raises(ValueError, match="altered"):
            next(render_truth(new))
    first, last = (read_pixels(folder / before.samples[0].image.path) for folder in (plain, tmp_path / "out"))
    assert np.array_equal(brighter(first), last)


def test_the_face_box_follows_the_crop(plain: Path, tmp_path: Path) -> None:
    altered = alter(plain, tmp_path / "out", "genbench_outside")
    (old, new) = (next(s for s in one.samples if s.id == altered.samples[2].id) for one in (load_manifest(plain), altered))
    assert new.source[ALTERED] == "crop"
    width = [box[2] - box[0] for box in (old.face_box, new.face_box)]
    assert width[1] == pytest.approx(min(width[0] / CROP_SHARE, 1.0), rel=1e-6)


def test_a_copy_cut_short_is_no_set(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALTERATIONS, "palette", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        alter(plain, tmp_path / "out", "genbench_outside")
    assert not (tmp_path / "out" / MANIFEST_NAME).exists()


def test_each_alteration_does_what_it_says() -> None:
    grey = np.full((40, 30, 3), 100, np.uint8)
    assert brighter(grey).mean() > 120
    assert brighter(np.full((2, 2, 3), 255, np.uint8)).max() <= 255
    assert np.ptp(recoloured(grey).astype(int)) <= 1  # grey stays grey
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    turned = recoloured(red)[0, 0].astype(int)
    assert turned[0] > turned[1] > turned[2]  # towards yellow
    edged = np.zeros((100, 100, 3), np.uint8)
    edged[:5], edged[-5:], edged[:, :5], edged[:, -5:] = 255, 255, 255, 255
    assert cropped(edged).max() < 10  # the border is outside the crop
