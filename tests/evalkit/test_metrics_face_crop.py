"""The fixed face region: geometry, resizing and borders."""

import numpy as np
import pytest
import torch

from evalkit.metrics.face_crop import CropRegion, FaceCrop, rectangle_of

WHOLE = CropRegion(1, 1, 0)


def test_the_whole_picture_at_its_own_size_is_unchanged() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), dtype=np.uint8)
    crops = FaceCrop((0, 0, 1, 1), 40, 40, WHOLE, (40, 40))(frames)
    np.testing.assert_allclose(crops.permute(0, 2, 3, 1).numpy(), frames / 255, atol=1e-6)


def test_shrinking_averages_and_keeps_the_mean() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 120, 120, 3), dtype=np.uint8)
    crop = FaceCrop((0, 0, 1, 1), 120, 120, WHOLE, (12, 12))(frames)
    assert crop.shape == (1, 3, 12, 12)
    assert float(crop.std()) < 0.04
    assert float(crop.mean()) == pytest.approx(frames.mean() / 255, abs=0.01)


def test_beyond_the_border_the_border_goes_on() -> None:
    frames = np.zeros((1, 20, 20, 3), np.uint8)
    frames[:, :, -1] = 255
    crop = FaceCrop((0.5, 0, 1.5, 1), 20, 20, WHOLE, (20, 20))(frames)
    assert torch.allclose(crop[..., 11:], torch.ones(1, 3, 20, 9), atol=1e-6)


def test_the_region_is_in_units_of_the_longer_side() -> None:
    left, top, width, height = rectangle_of((0.25, 0.25, 0.75, 0.5), 100, 200, CropRegion(2, 1, 0.5))
    assert (width, height) == (100, 50)
    assert (left + width / 2, top + height / 2) == (50, 75 + 25)


def test_an_empty_box_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        rectangle_of((0.5, 0.5, 0.5, 0.7), 100, 100, WHOLE)
