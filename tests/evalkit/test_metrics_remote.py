"""An extractor in another Python: the same arrays, several clips in a row, and errors that tell the other side's story."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from evalkit.metric_setup import MetricSetup
from evalkit.metrics.canaries import known_clip
from evalkit.metrics.extract import extract_arrays
from evalkit.metrics.registry import get_extractor
from evalkit.metrics.remote import RemoteError, RemoteExtractor, pack, unpack


@pytest.fixture(scope="module")
def there() -> Iterator[RemoteExtractor]:
    extractor = RemoteExtractor("syncnet", MetricSetup(interpreters=(("syncnet", sys.executable),)))
    yield extractor
    extractor.close()


def test_the_other_interpreter_gives_the_same_arrays(there: RemoteExtractor, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = known_clip()
    assert there.rate_hz == 25
    assert there.version == get_extractor("syncnet").version
    assert there.backbone == get_extractor("syncnet").backbone or there.backbone.digest
    for piece in (40, 72):  # one process serves clip after clip
        frames, sound = clip.frames[:piece], clip.sound[: piece * 640]
        here = extract_arrays(frames, 25.0, sound, clip.sample, ["syncnet"])["syncnet"]
        monkeypatch.setattr(sys.modules["evalkit.metrics.extract"], "get_extractor", lambda *_: there)
        other = extract_arrays(frames, 25.0, sound, clip.sample, ["syncnet"])["syncnet"]
        monkeypatch.undo()
        assert here.keys() == other.keys()
        for name, array in here.items():
            if array.dtype.kind in "US":
                assert str(array) == str(other[name])
            else:
                np.testing.assert_allclose(array, other[name], rtol=0, atol=1e-4, err_msg=name)


def test_an_error_on_the_other_side_belongs_to_its_clip_and_the_next_one_works(
    there: RemoteExtractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = known_clip()
    monkeypatch.setattr(sys.modules["evalkit.metrics.extract"], "get_extractor", lambda *_: there)
    empty = SimpleNamespace(face_box=(0.5, 0.5, 0.5, 0.5))
    with pytest.raises(RemoteError, match=r"ValueError: face box .* is empty"):
        extract_arrays(clip.frames[:10], 25.0, clip.sound[:6400], empty, ["syncnet"])
    arrays = extract_arrays(clip.frames[:10], 25.0, clip.sound[:6400], clip.sample, ["syncnet"])
    assert len(arrays["syncnet"]["video"]) == 5


def test_an_interpreter_without_what_it_needs_tells_its_story(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="cannot be started"):
        RemoteExtractor("pixels", MetricSetup(interpreters=(("pixels", str(tmp_path / "python")),)))
    broken = tmp_path / "broken"
    broken.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('no module named pyiqa')\n")
    broken.chmod(0o755)
    with pytest.raises(RemoteError, match=r"ended with code 1: no module named pyiqa"):
        RemoteExtractor("pixels", MetricSetup(interpreters=(("pixels", str(broken)),)))


def test_the_setup_decides_where_an_extractor_runs() -> None:
    setup = MetricSetup(interpreters=(("pixels", sys.executable),))
    extractor = get_extractor("pixels", setup)
    assert isinstance(extractor, RemoteExtractor)
    arrays = extract_arrays(known_clip().frames[:20], 25.0, None, SimpleNamespace(), ["pixels"], setup)["pixels"]
    here = extract_arrays(known_clip().frames[:20], 25.0, None, SimpleNamespace(), ["pixels"])["pixels"]
    np.testing.assert_allclose(arrays["speed"], here["speed"], atol=1e-6)
    extractor.close()


def test_arrays_travel_without_pickles() -> None:
    arrays = {"a": np.arange(3), "b": np.array("portrait"), "c": np.zeros((0, 4), np.float32)}
    back = unpack(pack(arrays))
    assert back.keys() == arrays.keys()
    assert str(back["b"]) == "portrait"
    with pytest.raises(ValueError, match="allow_pickle"):
        unpack(pack({"a": np.array([object()])}))
