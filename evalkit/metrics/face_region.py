"""The fixed face region of a clip: from the manifest's box, or found in the first pictures that show a face.

A found box stays for the whole clip, as a manifest's does: the region about it is wide enough for a head that moves.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from evalkit.metrics.base import Clip
from evalkit.metrics.face_crop import FACE_SOURCE, Box, CropRegion, FaceCrop, Size, box_in_video

FOUND_SOURCE = "nano face finder"
LOOKS = 5
"""Pictures looked at per piece while no face is known."""
LEAST_HITS = 0.6


class FaceRegion:
    """Crops of a clip from the first picture on in which its face is known.

    first_frame: number of that picture; None while there is none. faces: how many were seen beside each other there.
    """

    def __init__(self, clip: Clip, region: CropRegion, size: Size):
        self._clip, self._region, self._size = clip, region, size
        self._seen = 0
        self._crop: FaceCrop | None = None
        self.first_frame: int | None = None
        self.source = ""
        self.faces = 1
        box = box_in_video(clip)
        if box is not None:
            self._settle(box, FACE_SOURCE)

    def crops(self, frames: np.ndarray) -> Tensor | None:
        """Float32 [n, 3, *size] in 0..1 of pictures uint8 [n, H, W, 3]; None while no face was found."""
        if self._crop is None:
            self._look(frames)
        self._seen += len(frames)
        return None if self._crop is None else self._crop(frames)

    def _look(self, frames: np.ndarray) -> None:
        from evalkit.metrics.face_finder import shared_finder  # its network loads only where no box is given

        finder = shared_finder()
        chosen = frames[np.unique(np.linspace(0, len(frames) - 1, LOOKS).astype(int))]
        found = finder.detect_many(chosen)
        hits = [faces for faces in found if len(faces)]
        if len(hits) < LEAST_HITS * len(chosen):
            return
        # The largest face, followed through the looks by nearness to the first one's centre.
        start = _largest(hits[0])
        boxes = [min(faces[:, :4], key=lambda box: float(np.abs(box - start).sum())) for faces in hits]
        box = np.median(boxes, axis=0) / ([frames.shape[2], frames.shape[1]] * 2)
        self.faces = round(float(np.median([len(faces) for faces in hits])))
        self._settle(tuple(float(value) for value in box), FOUND_SOURCE)

    def _settle(self, box: Box, source: str) -> None:
        self._crop = FaceCrop(box, self._clip.width, self._clip.height, self._region, self._size)
        self.first_frame, self.source = self._seen, source

    def arrays(self, frames: int) -> dict[str, np.ndarray]:
        """What stored features say of the face: source, first picture, faces, and the share of pictures covered."""
        first = frames if self.first_frame is None else self.first_frame
        return {
            "face_source": np.array(self.source or "none"),
            "first_frame": np.array(first),
            "faces": np.array(self.faces if self.first_frame is not None else 0),
            "coverage": np.array((frames - first) / frames if frames else 0.0),
        }


def _largest(faces: np.ndarray) -> np.ndarray:
    return faces[((faces[:, 2] - faces[:, 0]) * (faces[:, 3] - faces[:, 1])).argmax(), :4]

