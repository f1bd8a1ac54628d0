"""Every usable picture and voice is read right; every unusable one is refused with a sentence that helps."""

import io
import warnings
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from liveavatar.inputs import InputError, SilentAudioWarning, read_picture, read_voice, require_file, stream_voice

RATE = 16_000


def tone(seconds: float, rate: int = RATE, hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """float [n] or [n, channels] as 16-bit PCM."""
    samples = samples[:, None] if samples.ndim == 1 else samples
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.clip(np.round(samples * 32768), -32768, 32767).astype("<i2").tobytes())
    return path


def encode(path: Path, codec: str, samples: np.ndarray, rate: int, sample_format: str = "s16") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        data = samples if sample_format != "s16" else np.round(samples * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data[None]), format=sample_format, layout="mono")
        frame.sample_rate = rate
        frame.pts, frame.time_base = 0, Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# ------------------------------------------------------------------------------------------------------------ picture


def gradient(height: int, width: int) -> np.ndarray:
    rows = np.linspace(0, 255, height)[:, None, None] * np.array([1.0, 0.0, 0.5])
    columns = np.linspace(0, 255, width)[None, :, None] * np.array([0.0, 1.0, 0.5])
    return (rows + columns).round().astype(np.uint8)


def test_picture_of_the_right_size_is_untouched(tmp_path: Path) -> None:
    pixels = gradient(128, 96)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png", 128, 96), pixels)


@pytest.mark.parametrize(("name", "options"), [("a.jpg", {"quality": 95}), ("a.webp", {"lossless": True}), ("a.PNG", {})])
def test_formats_and_scaling(tmp_path: Path, name: str, options: dict) -> None:
    Image.fromarray(gradient(512, 384)).save(tmp_path / name, **options)
    picture = read_picture(str(tmp_path / name), 128, 96)
    assert picture.shape == (128, 96, 3)
    assert picture.dtype == np.uint8
    assert abs(picture.astype(int) - gradient(128, 96)).max() <= 8


def test_downscaling_is_antialiased(tmp_path: Path) -> None:
    board = np.indices((512, 384)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "a.png")
    assert np.ptp(read_picture(tmp_path / "a.png", 128, 96).astype(int)) <= 16


def test_wide_is_cropped_at_both_sides_and_tall_more_at_the_bottom(tmp_path: Path) -> None:
    wide = np.repeat(np.arange(200, dtype=np.uint8)[None], 64, 0)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    columns = read_picture(tmp_path / "wide.png", 64, 64)[0, :, 0].astype(int)
    np.testing.assert_array_equal(columns, np.arange(68, 132))
    Image.fromarray(wide.T).save(tmp_path / "tall.png")
    rows = read_picture(tmp_path / "tall.png", 64, 64)[:, 0, 0].astype(float)
    assert rows[0] == pytest.approx(0.4 * 136, abs=1.5)
    assert rows[0] < 199 - rows[-1]


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(gradient(96, 128)).save(tmp_path / "a.jpg", quality=98, exif=exif)
    expected = np.rot90(gradient(96, 128), -1)
    assert abs(read_picture(tmp_path / "a.jpg", 128, 96).astype(int) - expected).mean() < 3


def test_damaged_exif_does_not_matter(tmp_path: Path) -> None:
    Image.fromarray(gradient(64, 64)).save(tmp_path / "a.jpg", exif=b"Exif\0\0rubbish and more rubbish")
    assert read_picture(tmp_path / "a.jpg", 64, 64).shape == (64, 64, 3)


def test_alpha_lies_over_neutral_grey(tmp_path: Path) -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[:, :32] = (255, 0, 0, 255)
    rgba[:, 32:48] = (255, 255, 255, 128)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png", 64, 64)
    assert picture[0, 0].tolist() == [255, 0, 0]
    assert picture[0, 40, 0] == pytest.approx(192, abs=1)
    assert picture[0, 60].tolist() == [128, 128, 128]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16"])
def test_modes(tmp_path: Path, mode: str) -> None:
    grey = np.full((64, 64), 200, np.uint8)
    grey[:, :32] = 0
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    image = deep if mode == "I;16" else Image.fromarray(grey).convert(mode)
    name = "a.jpg" if mode == "CMYK" else "a.png"
    image.save(tmp_path / name)
    picture = read_picture(tmp_path / name, 64, 64).astype(int)
    expected = 255 if mode == "1" else 200
    assert abs(picture[:, 40:].mean() - expected) <= 60 * (mode == "1") + 3
    assert picture[:, :24].max() <= 3


def test_palette_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(np.repeat(np.arange(2, dtype=np.uint8), 2048).reshape(64, 64), mode="P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "a.png", transparency=1)
    picture = read_picture(tmp_path / "a.png", 64, 64)
    assert picture[0, 0].tolist() == [255, 0, 0]
    assert picture[-1, 0].tolist() == [128, 128, 128]


def refused_picture(path: Path, message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=message) as caught:
            read_picture(path, 128, 96)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_empty_folder_and_foreign_pictures(tmp_path: Path) -> None:
    refused_picture(tmp_path / "none.png", "does not exist; check the path")
    refused_picture(tmp_path, "is a folder")
    (tmp_path / "empty.png").touch()
    refused_picture(tmp_path / "empty.png", r"is empty \(0 bytes\)")
    (tmp_path / "text.png").write_text("this is no picture at all")
    refused_picture(tmp_path / "text.png", "is not a PNG, JPEG or WebP image; convert it")
    write_wav(tmp_path / "voice.wav", tone(1))
    refused_picture(tmp_path / "voice.wav", "is not a PNG, JPEG or WebP image")
    refused_picture(Path("/dev/null"), "is not a regular file")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_truncated_pictures(tmp_path: Path, name: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 96, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: max(12, int(share * len(data)))])
    refused_picture(tmp_path / name, "truncated or damaged")


def test_too_small_and_too_many_pixels(tmp_path: Path) -> None:
    Image.new("RGB", (31, 400)).save(tmp_path / "small.png")
    refused_picture(tmp_path / "small.png", "is 31x400 px; each side needs at least 32")
    Image.new("1", (10_000, 9_500)).save(tmp_path / "large.png")
    refused_picture(tmp_path / "large.png", "is 10000x9500 px; at most 89,000,000")
    Image.new("1", (20_000, 10_000)).save(tmp_path / "bomb.png")
    refused_picture(tmp_path / "bomb.png", "too many pixels")


# -------------------------------------------------------------------------------------------------------------- voice


def test_plain_wav_is_exact(tmp_path: Path) -> None:
    voice = (np.random.default_rng(0).integers(-32768, 32768, 20_000) / 32768).astype(np.float32)
    read = read_voice(write_wav(tmp_path / "a.wav", voice))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, voice)


def test_stereo_is_averaged(tmp_path: Path) -> None:
    read = read_voice(write_wav(tmp_path / "a.wav", np.stack([tone(1), np.zeros(RATE, np.float32)], 1)))
    np.testing.assert_allclose(read, tone(1) / 2, atol=1e-4)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_length_and_phase(tmp_path: Path, rate: int) -> None:
    read = read_voice(write_wav(tmp_path / "a.wav", tone(1.5, rate), rate))
    assert abs(len(read) - 1.5 * RATE) <= 2
    middle = slice(2000, 22_000)
    np.testing.assert_allclose(read[middle], tone(1.5)[middle], atol=0.01)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "sample_format"),
    [
        ("a.flac", "flac", 44_100, "s16"),
        ("a.mp3", "libmp3lame", 44_100, "s16"),
        ("a.ogg", "libopus", 48_000, "s16"),
        ("a.m4a", "aac", 32_000, "s16"),
        ("float.wav", "pcm_f32le", 16_000, "flt"),
    ],
)
def test_every_format_is_read_in_place(tmp_path: Path, name: str, codec: str, rate: int, sample_format: str) -> None:
    burst = np.zeros(2 * rate, np.float32)
    burst[rate // 2 : rate] = tone(0.5, rate)
    read = read_voice(encode(tmp_path / name, codec, burst, rate, sample_format))
    assert abs(len(read) - 2 * RATE) < 0.1 * RATE
    loud = np.flatnonzero(np.abs(read) > 0.1) / RATE
    assert loud[0] == pytest.approx(0.5, abs=0.02)
    assert loud[-1] == pytest.approx(1.0, abs=0.02)


def test_24_bit_and_8_bit_wav(tmp_path: Path) -> None:
    encode(tmp_path / "u8.wav", "pcm_u8", tone(1), RATE)
    encode(tmp_path / "s24.wav", "pcm_s24le", tone(1), RATE)
    np.testing.assert_allclose(read_voice(tmp_path / "u8.wav"), tone(1), atol=0.01)
    np.testing.assert_allclose(read_voice(tmp_path / "s24.wav"), tone(1), atol=1e-4)


def test_wav_that_came_through_a_pipe_has_no_length_and_is_read_whole(tmp_path: Path) -> None:
    data = bytearray(write_wav(tmp_path / "a.wav", tone(1)).read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read_voice(tmp_path / "a.wav")) == RATE


def test_video_gives_its_sound(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp4", "aac", tone(1), RATE)
    assert len(read_voice(tmp_path / "a.mp4")) >= RATE


@pytest.mark.parametrize("chunk_s", [0.01, 0.48, 1.0, 100.0])
def test_streamed_equals_read(tmp_path: Path, chunk_s: float) -> None:
    path = write_wav(tmp_path / "a.wav", tone(2.3, 44_100), 44_100)
    pieces = list(stream_voice(path, chunk_s))
    assert all(len(piece) == round(chunk_s * RATE) for piece in pieces[:-1])
    np.testing.assert_array_equal(np.concatenate(pieces), read_voice(path))


def test_streaming_holds_little(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", tone(600))
    pieces = stream_voice(path, 0.48)
    first = next(pieces)
    assert first.base is None
    assert len(first) == 7680
    assert sum(len(piece) for piece in pieces) == 600 * RATE - 7680


def test_values_stay_within_full_scale(tmp_path: Path) -> None:
    read = read_voice(encode(tmp_path / "a.wav", "pcm_f32le", tone(1, level=1.5), RATE, "flt"))
    assert np.abs(read).max() == 1.0


def refused_voice(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_voice(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_empty_folder_and_foreign_voices(tmp_path: Path) -> None:
    refused_voice(tmp_path / "none.wav", "does not exist")
    refused_voice(tmp_path, "is a folder")
    (tmp_path / "empty.wav").touch()
    refused_voice(tmp_path / "empty.wav", "is empty")
    (tmp_path / "text.wav").write_text("hello " * 1000)
    refused_voice(tmp_path / "text.wav", "is not audio that can be read")
    Image.fromarray(gradient(64, 64)).save(tmp_path / "picture.png")
    refused_voice(tmp_path / "picture.png", "is not audio that can be read")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n")
    refused_voice(tmp_path / "list.m3u8", "is not audio that can be read")


def test_video_without_sound(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(gradient(64, 64), format="rgb24")))
        container.mux(stream.encode(None))
    refused_voice(tmp_path / "a.mp4", "has no audio stream")


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.wav", "pcm_s16le", 16_000),
        ("a.flac", "flac", 44_100),
        ("a.mp3", "libmp3lame", 44_100),
        ("a.ogg", "libopus", 48_000),
        ("a.m4a", "aac", 44_100),
    ],
)
@pytest.mark.parametrize("share", [0.003, 0.3, 0.7])
def test_truncated_voices(tmp_path: Path, name: str, codec: str, rate: int, share: float) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * rate).astype(np.float32)
    data = encode(tmp_path / name, codec, noise, rate).read_bytes()
    (tmp_path / name).write_bytes(data[: max(40, int(share * len(data)))])
    refused_voice(tmp_path / name, "truncated")


def test_damaged_flac(tmp_path: Path) -> None:
    data = bytearray(encode(tmp_path / "a.flac", "flac", tone(3), RATE).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    (tmp_path / "a.flac").write_bytes(data)
    refused_voice(tmp_path / "a.flac", "truncated or damaged|truncated")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(tmp_path: Path, bad: float) -> None:
    voice = tone(1)
    voice[9000] = bad
    refused_voice(encode(tmp_path / "a.wav", "pcm_f32le", voice, RATE, "flt"), "NaN or infinite samples")


def test_integers_written_as_floats(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.wav", "pcm_f32le", tone(1) * 32767, RATE, "flt")
    refused_voice(path, r"samples up to 1\.64e\+04; floating-point audio lies within -1\.\.1")


def test_shorter_than_a_block(tmp_path: Path) -> None:
    refused_voice(write_wav(tmp_path / "a.wav", tone(0.3)), r"is 0\.30 s; at least 0\.48 s \(one block\).*apad=whole_dur")
    refused_voice(write_wav(tmp_path / "b.wav", tone(0)), "voice")
    assert len(read_voice(write_wav(tmp_path / "c.wav", tone(0.48)))) == 7680


def test_silence_warns_and_is_refused_when_strict(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.zeros(RATE, np.float32))
    with pytest.warns(SilentAudioWarning, match="is silent .peak digital silence"):
        assert not read_voice(path).any()
    with pytest.raises(InputError, match="is silent"):
        read_voice(path, strict=True)
    quiet = encode(tmp_path / "b.wav", "pcm_f32le", tone(1, level=0.0005), RATE, "flt")
    with pytest.warns(SilentAudioWarning, match="peak -66 dBFS"):
        read_voice(quiet)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_voice(encode(tmp_path / "c.wav", "pcm_f32le", tone(1, level=0.005), RATE, "flt"))


def test_missing_is_told_before_the_first_piece(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        stream_voice(tmp_path / "none.wav")
    with pytest.raises(InputError, match="less than one sample"):
        stream_voice(write_wav(tmp_path / "a.wav", tone(1)), 0.0)
    with pytest.raises(InputError, match="reference /"):
        require_file(tmp_path / "none", "reference")


def test_picture_bytes_in_a_voice_name_and_reverse_are_told_apart(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(gradient(64, 64)).save(buffer, "JPEG")
    (tmp_path / "a.mp3").write_bytes(buffer.getvalue())
    refused_voice(tmp_path / "a.mp3", "not audio")
