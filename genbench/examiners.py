"""The networks of the quality gate, each optional and loaded from the user's own files: agreement, faces, recognition."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np

from genbench.errors import ProviderError
from genbench.providers.base import Box
from genbench.quality import Examiners, Gate, NoExaminers

DETECTORS = ("yunet", "owlv2")
# YuNet knows faces of about 10 to 300 pixels.
_YUNET_SIDE = 640
_QUERIES = {"photo": "a human face", "cartoon": "the head of a cartoon character", "animal": "the head of an animal"}


def make_examiners(gate: Gate) -> Examiners:
    """What the gate asks for. Raises ProviderError naming the package or file that is missing."""
    return Networks(gate) if gate.needs_networks else NoExaminers()


class Networks:
    """Each network is loaded at its first use and kept."""

    def __init__(self, gate: Gate) -> None:
        if gate.detector and gate.detector not in DETECTORS:
            raise ValueError(f"detector {gate.detector!r}; choose one of {', '.join(DETECTORS)}")
        if gate.detector and not (gate.detector_model and Path(gate.detector_model).exists()):
            raise ProviderError(
                f"detector {gate.detector!r} needs its model on disk: quality.detector_model "
                f"({gate.detector_model or 'empty'} does not exist)"
            )
        self._gate = gate
        self._clip: _ClipAgreement | None = None
        self._detector: Any = None
        self._recogniser: Any = None

    def agreement(self, pixels: np.ndarray, prompt: str) -> float | None:
        """Cosine of picture and prompt under an open_clip model."""
        if not self._gate.agreement_model:
            return None
        self._clip = self._clip or _ClipAgreement(self._gate.agreement_model)
        return self._clip.cosine(pixels, prompt)

    def faces(self, pixels: np.ndarray, style: str) -> list[Box] | None:
        """Boxes of faces (yunet) or of what the style calls for (owlv2)."""
        if not self._gate.detector:
            return None
        if self._detector is None:
            made = {"yunet": YuNet, "owlv2": Owl}[self._gate.detector]
            self._detector = made(self._gate.detector_model, self._gate.detector_score)
        return self._detector.boxes(pixels, style)

    def transcript(self, samples: np.ndarray, language: str) -> str | None:
        """What faster-whisper hears; the same samples give the same words."""
        if not self._gate.recogniser:
            return None
        if self._recogniser is None:
            try:
                from faster_whisper import WhisperModel
            except ImportError as error:
                raise ProviderError("the recogniser needs faster-whisper: pip install faster-whisper") from error
            self._recogniser = WhisperModel(self._gate.recogniser, local_files_only=True)
        # Temperature 0: no sampling, so no other words the next time.
        segments, _ = self._recogniser.transcribe(
            samples.astype(np.float32) / 32768, language=language[:2], temperature=0.0, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)


class YuNet:
    """Faces of people by OpenCV's FaceDetectorYN and its separate ONNX file."""

    def __init__(self, model: str, score: float) -> None:
        try:
            import cv2
        except ImportError as error:
            raise ProviderError("detector 'yunet' needs OpenCV: pip install opencv-python-headless") from error
        self._cv2, self._model, self._score = cv2, model, score

    def boxes(self, pixels: np.ndarray, style: str) -> list[Box]:
        """Relative boxes of all faces at or above the score."""
        height, width = pixels.shape[:2]
        scale = min(1.0, _YUNET_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = self._cv2.resize(np.ascontiguousarray(pixels[..., ::-1]), size)  # OpenCV's order is blue, green, red
        detector = self._cv2.FaceDetectorYN.create(self._model, "", size)
        _, found = detector.detect(small)
        rows = [] if found is None else [row for row in found if float(row[-1]) >= self._score]
        return [
            _clamped(row[0] / size[0], row[1] / size[1], (row[0] + row[2]) / size[0], (row[1] + row[3]) / size[1])
            for row in rows
        ]


class Owl:
    """Heads of any kind by OWLv2 in transformers: asked in words, so drawn and animal faces are found too."""

    def __init__(self, model: str, score: float) -> None:
        from transformers import Owlv2ForObjectDetection, Owlv2Processor

        self._processor = Owlv2Processor.from_pretrained(model, local_files_only=True)
        self._model = Owlv2ForObjectDetection.from_pretrained(model, local_files_only=True).eval()
        self._score = score

    def boxes(self, pixels: np.ndarray, style: str) -> list[Box]:
        """Relative boxes at or above the score, overlapping ones counted once."""
        import torch
        from PIL import Image

        height, width = pixels.shape[:2]
        # The network sees the picture in the corner of a square and answers in shares of that square.
        side = max(height, width)
        given = self._processor(
            text=[[_QUERIES.get(style, _QUERIES["photo"])]], images=Image.fromarray(pixels), return_tensors="pt"
        )
        with torch.no_grad():
            answer = self._model(**given)
        scores = answer.logits[0].sigmoid().amax(-1)
        found: list[tuple[float, Box]] = []
        for score, (x, y, w, h) in zip(scores.tolist(), answer.pred_boxes[0].tolist(), strict=True):
            if score >= self._score:
                corners = (
                    (x - w / 2) * side / width,
                    (y - h / 2) * side / height,
                    (x + w / 2) * side / width,
                    (y + h / 2) * side / height,
                )
                found.append((score, _clamped(*corners)))
        kept: list[Box] = []
        for _, box in sorted(found, reverse=True):
            if all(overlap(box, other) < 0.5 for other in kept):
                kept.append(box)
        return kept


class _ClipAgreement:
    def __init__(self, model: str) -> None:
        try:
            import open_clip
        except ImportError as error:
            raise ProviderError("prompt agreement needs open_clip: pip install open_clip_torch") from error
        # "NAME/PRETRAINED", or one name of a local or hub folder that holds both.
        name, _, pretrained = (model, "", "") if model.startswith(("local-dir:", "hf-hub:")) else model.partition("/")
        self._model, _, self._prepare = open_clip.create_model_and_transforms(name, pretrained=pretrained or None)
        self._tokenise = open_clip.get_tokenizer(name)
        self._model.eval()

    def cosine(self, pixels: np.ndarray, prompt: str) -> float:
        import torch
        from PIL import Image

        with torch.no_grad():
            seen = self._model.encode_image(self._prepare(Image.fromarray(pixels))[None])
            read = self._model.encode_text(self._tokenise([prompt]))
        return float(torch.nn.functional.cosine_similarity(seen.float(), read.float())[0])


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    both = max(width, 0.0) * max(height, 0.0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)) - both
    return both / union if union > 0 else 0.0


def _clamped(*corners: float) -> Box:
    return cast(Box, tuple(round(min(max(float(value), 0.0), 1.0), 5) for value in corners))
