"""The named resizes and value ranges against the reference pictures, and the range check."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evalkit.metrics import resize
from evalkit.metrics.protocols import PROTOCOLS, get_protocol
from tests.evalkit import metric_goldens as golden


def source() -> np.ndarray:
    """The 720 x 400 test picture, by its formula."""
    base = int(golden.arrays("syncnet_forward")["stream_base"])
    blocks = np.floor(256 * golden.uniform(90 * 50 * 3, base + 905)).astype(np.int64).reshape(90, 50, 3)
    large = blocks.repeat(8, 0).repeat(8, 1)
    texture = 40 * ((np.arange(720)[:, None] + np.arange(400)[None]) % 3)
    return (large // 2 + texture[..., None]).astype(np.uint8)


@golden.needs_goldens
def test_resizes_match_the_references() -> None:
    expected, picture = golden.arrays("resize"), source()
    np.testing.assert_array_equal(picture[::40, ::40], expected["source_every40"])
    assert picture.astype(np.int64).sum() == expected["source_sum"]
    for name, function in (
        ("clean_bicubic_299", resize.bicubic_clean),
        ("pytorch_bilinear_no_antialias_299", resize.bilinear),
        ("tf1_bilinear_299", resize.bilinear_tf1),
        ("antialias_bilinear_299", resize.bilinear_antialias),
    ):
        made = function(picture[None], 299)[0].permute(1, 2, 0).numpy()[::13, ::13]
        np.testing.assert_allclose(made, expected[f"{name}_every13"], rtol=0, atol=1e-3, err_msg=name)
    clip = np.stack([picture, picture[::-1]])
    for name, protocol in (("fvd_short_side_center_crop", "fvd_crop"), ("fvd_direct_224", "fvd_styleganv")):
        made = get_protocol(protocol)(clip).transpose(0, 1).numpy()[..., ::9, ::9]
        np.testing.assert_allclose(made, expected[f"{name}_every9"], rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_white_reaches_the_network_as_one_and_black_as_minus_one(name: str) -> None:
    white = get_protocol(name)(np.full((2, 40, 30, 3), 255, np.uint8))
    black = get_protocol(name)(np.zeros((2, 40, 30, 3), np.uint8))
    side = PROTOCOLS[name].size
    assert white.shape == (2, 3, side, side)
    top = 1.0 if PROTOCOLS[name].scale(torch.tensor(255.0)) == 1 else 127 / 128
    torch.testing.assert_close(white, torch.full_like(white, top), rtol=0, atol=1e-6)
    torch.testing.assert_close(black, torch.full_like(black, -1.0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("wrong", [np.random.default_rng(0).random((1, 8, 8, 3)), np.full((1, 8, 8, 3), -1.0)])
def test_pictures_on_another_scale_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"0\.\.255"):
        get_protocol("fid_pytorch")(wrong)


def test_the_aspect_is_kept_by_the_crop_and_by_nothing_else() -> None:
    wide = np.zeros((1, 60, 120, 3), np.uint8)
    wide[:, :, :25] = 255  # the left fifth: a centre crop never shows it
    assert float(resize.short_side_crop(wide, 224).max()) == 0
    assert float(resize.bilinear(wide, 224).max()) == pytest.approx(255)
