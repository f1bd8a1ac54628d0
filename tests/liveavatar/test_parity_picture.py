"""What a stream makes of its picture, in the paper's way and in the release's, with the reference codec's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from liveavatar.checkpoints.files import open_files
from liveavatar.checkpoints.vae import load_codec
from liveavatar.config import RolloutOptions
from liveavatar.model.codec import ClipDecoder, Codec, VaeStreamDecoder
from liveavatar.streaming.picture import PRIMING_LATENTS, picture_latents, recoder, still
from tests.liveavatar.golden import assert_same, golden, with_prefix
from tests.liveavatar.test_parity_codec import layout


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    tensors, config = golden("vae")
    file = tmp_path_factory.mktemp("vae") / "vae.pth"
    torch.save(with_prefix(tensors, "sd."), file)
    return load_codec(open_files(file), "cpu", config=layout(config))


@pytest.fixture(scope="module")
def video() -> Tensor:
    return golden("vae")[0]["in.video"]


@torch.no_grad()
def test_a_reference_is_coded_alone_or_as_the_second_latent_of_five_frames(codec: Codec, video: Tensor) -> None:
    picture = video[:, :, :1]
    alone, repeated = (
        picture_latents(codec, picture, RolloutOptions(reference=way), 19).sink for way in ("alone", "repeated")
    )
    assert_same(alone, codec.encode(picture), 0)
    assert_same(repeated, codec.encode(picture.repeat(1, 1, 5, 1, 1))[:, :, 1:], 0)
    assert (alone - repeated).abs().max() > 1e-3


@torch.no_grad()
def test_motion_is_the_still_pictures_last_latents(codec: Codec, video: Tensor) -> None:
    picture = video[:, :, :1]
    assert picture_latents(codec, picture, RolloutOptions(), 19).motion is None
    for frames, count in ((73, 19), (81, 19), (9, 3)):
        options = RolloutOptions(motion="still", still_frames=frames, prime="still")
        made = picture_latents(codec, picture, options, 19)
        assert made.motion is not None
        assert made.motion.shape[2] == count
        whole = codec.encode(still(picture, frames))
        assert_same(made.motion, whole[:, :, -19:], 2e-5)


@torch.no_grad()
def test_a_decoder_is_primed_with_the_reference_or_with_a_still_history(codec: Codec, video: Tensor) -> None:
    picture = video[:, :, :1]
    reference = picture_latents(codec, picture, RolloutOptions(reference="repeated"), 19).priming
    assert_same(reference, codec.encode(picture), 0)
    history = picture_latents(codec, picture, RolloutOptions(prime="still"), 19).priming
    assert history.shape[2] == PRIMING_LATENTS
    assert_same(history, codec.encode(still(picture, 73))[:, :, :PRIMING_LATENTS], 2e-5)


@torch.no_grad()
def test_recoded_content_is_the_first_frame_that_a_stream_shows(codec: Codec, video: Tensor) -> None:
    reference = codec.encode(video[:, :, :1])
    latents = codec.encode(video)[:, :, 1:]
    stream = VaeStreamDecoder(codec)
    stream.prime(reference)
    shown = stream.decode(latents)
    assert_same(recoder(codec, reference)(latents[:, :, :1]), codec.encode(shown[:, :, :1]), 2e-5)


@torch.no_grad()
def test_clips_are_decoded_behind_the_coded_frames_before_them(codec: Codec, video: Tensor) -> None:
    picture, latents = video[:, :, :1], golden("vae")[0]["in.latent"]
    decoder, context = ClipDecoder(codec, picture, 9), still(picture, 9)
    for clip in (latents[:, :, :2], latents[:, :, 2:5]):
        whole = codec.decode(torch.cat([codec.encode(context), clip], dim=2))
        pixels = decoder.decode(clip)
        assert pixels.shape[2] == 4 * clip.shape[2]
        assert_same(pixels, whole[:, :, -4 * clip.shape[2] :], 0)
        context = torch.cat([context, pixels], dim=2)[:, :, -9:]


def test_the_files_of_this_folder_are_read_by_a_parity_test() -> None:
    """A vector that no test names would pass unseen."""
    from tests.liveavatar import golden as folder

    if not folder.FOLDER.is_dir():
        pytest.skip(f"no golden folder at {folder.FOLDER}; set GOLDEN_DIR")
    texts = "".join(path.read_text() for path in Path(__file__).parent.glob("test_parity_*.py"))
    names = {path.stem for path in folder.FOLDER.glob("*.safetensors")}
    assert names
    assert {name for name in names if f'"{name}"' not in texts} == set()
