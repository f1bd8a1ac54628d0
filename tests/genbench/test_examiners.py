"""The networks of the gate: what each is given, what is made of its answer, and what is said where it is missing."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from genbench.errors import ProviderError
from genbench.examiners import YuNet, make_examiners, overlap
from genbench.quality import Gate, NoExaminers

PICTURE = np.random.default_rng(1).integers(0, 256, (400, 300, 3), dtype=np.uint8)


def test_without_models_nothing_is_done():
    examiners = make_examiners(Gate())
    assert isinstance(examiners, NoExaminers)
    assert examiners.faces(PICTURE, "photo") is examiners.agreement(PICTURE, "x") is None


def test_a_model_that_is_not_there_is_named(tmp_path, monkeypatch):
    with pytest.raises(ProviderError, match="detector_model"):
        make_examiners(Gate(detector="yunet"))
    with pytest.raises(ValueError, match="yunet, owlv2"):
        make_examiners(Gate(detector="haar"))
    for gate, module, call in [
        (Gate(agreement_model="ViT-B-32/x"), "open_clip", lambda e: e.agreement(PICTURE, "a fox")),
        (Gate(recogniser="small"), "faster_whisper", lambda e: e.transcript(np.zeros(16_000, np.int16), "en")),
        (Gate(detector="yunet", detector_model=str(tmp_path)), "cv2", lambda e: e.faces(PICTURE, "photo")),
    ]:
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ProviderError, match="pip install"):
            call(make_examiners(gate))


def test_yunet_boxes_are_shares_of_the_picture(monkeypatch):
    """Facts of the stand-in: `FaceDetectorYN.create(model, config, input_size, ..)`; `.detect` gives (number, array or
    None), an array's row being x, y, width, height, ten landmarks, score; pictures are blue-green-red (OpenCV; model zoo
    4.x).
    """
    seen = {}

    class FaceDetectorYN:
        @staticmethod
        def create(model, config, input_size):
            seen["size"] = input_size
            return FaceDetectorYN()

        def detect(self, picture):
            seen["blue"] = picture[0, 0, 0]
            width, height = seen["size"]
            rows = np.zeros((2, 15), np.float32)
            rows[0] = [width * 0.25, height * 0.5, width * 0.5, height * 0.25, *[0] * 10, 0.9]
            rows[1, -1] = 0.3
            return (1, rows) if picture.any() else (0, None)

    def resize(picture, size):
        return picture[: size[1], : size[0]]

    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(FaceDetectorYN=FaceDetectorYN, resize=resize))
    large = np.zeros((1280, 960, 3), np.uint8)
    large[..., 2] = 7
    assert YuNet("model.onnx", 0.6).boxes(large, "photo") == [(0.25, 0.5, 0.75, 0.75)]
    assert seen["size"] == (480, 640)  # it knows faces of up to 300 pixels only
    assert seen["blue"] == 7
    assert YuNet("model.onnx", 0.6).boxes(np.zeros_like(large), "photo") == []


def test_owl_boxes_refer_to_the_square_and_count_once(monkeypatch):
    import torch

    from genbench.examiners import Owl

    owl = Owl.__new__(Owl)
    # The picture is 300 wide and 400 high, so its right edge lies at three quarters of the square.
    boxes = torch.tensor([[[0.375, 0.5, 0.375, 0.5], [0.38, 0.5, 0.375, 0.5], [0.1, 0.1, 0.1, 0.1]]])
    logits = torch.tensor([[[3.0], [2.0], [-3.0]]])
    asked = {}

    def processor(text, images, return_tensors):
        asked["text"] = text
        return {}

    owl._processor = processor
    owl._model = lambda **_: types.SimpleNamespace(logits=logits, pred_boxes=boxes)
    owl._score = 0.6
    assert owl.boxes(PICTURE, "animal") == [(0.25, 0.25, 0.75, 0.75)]
    assert asked["text"] == [["the head of an animal"]]


def test_overlap_has_known_values():
    assert overlap((0, 0, 1, 1), (0, 0, 1, 1)) == 1
    assert overlap((0, 0, 0.5, 1), (0.25, 0, 0.75, 1)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 0.2, 0.2), (0.5, 0.5, 1, 1)) == 0
