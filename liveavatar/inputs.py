"""Pictures and voices from files, checked: what a session is given.

Everything wrong with a file is found here and said in one sentence (what was given, what is allowed, what to do), as
`InputError`. Nothing here knows the model; nothing here reaches the network.
"""

from __future__ import annotations

import math
import os
import struct
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

VOICE_RATE_HZ = 16_000
BLOCK_S = 0.48
SILENCE_DBFS = -60.0
MIN_PICTURE_PX = 32
MAX_PICTURE_PIXELS = 89_000_000
NEUTRAL_GREY = 128
# A tall portrait has the head above its middle: this share of the rows cut away is cut at the top.
TOP_SHARE_OF_CUT = 0.4
# Float files may exceed full scale a little; far beyond it they hold integers written as floats.
MAX_FLOAT_PEAK = 16.0
WAV_SLACK_BYTES = 128

_PICTURE_FORMATS = ("PNG", "JPEG", "WEBP")
# A closed list also keeps out playlists, which would make the reader open other files or addresses.
_VOICE_FORMATS = "wav,w64,aiff,caf,au,mp3,flac,ogg,aac,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"


class InputError(ValueError):
    """A picture, a voice or an argument that cannot be used; the message says what to do."""


class SilentAudioWarning(UserWarning):
    """The voice never rises above `SILENCE_DBFS`: the mouth will stay closed."""


def require_file(path: str | os.PathLike[str], what: str) -> Path:
    """`path` as a Path if it is a readable, non-empty file; `what` names it in the message ("picture", "voice")."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{what} {path} is a folder; give one file")
    if not path.exists():
        raise InputError(f"{what} {path} does not exist; check the path")
    if not path.is_file():
        raise InputError(f"{what} {path} is not a regular file; save it to a file first")
    if not os.access(path, os.R_OK):
        raise InputError(f"{what} {path} may not be read; change its permissions")
    if path.stat().st_size == 0:
        raise InputError(f"{what} {path} is empty (0 bytes); export or download it again")
    return path


# ------------------------------------------------------------------------------------------------------------ picture


def read_picture(path: str | os.PathLike[str], height: int, width: int) -> np.ndarray:
    """The picture as uint8 RGB [height, width, 3]: upright, over neutral grey, cropped to the aspect, antialiased."""
    from PIL import Image

    path = require_file(path, "picture")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with _open_picture(path) as image:
            _check_picture_size(path, image)
            try:
                image.load()
            except (OSError, SyntaxError, ValueError, EOFError) as error:
                raise _broken_picture(path, error) from error
            rgb = _flattened(_upright(image))
    resized = rgb.resize((width, height), Image.Resampling.LANCZOS, box=crop_box(rgb.size, (width, height)))
    return np.array(resized, dtype=np.uint8)


def _open_picture(path: Path) -> Image.Image:
    from PIL import Image

    try:
        return Image.open(path, formats=_PICTURE_FORMATS)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"picture {path} has too many pixels ({error}); at most {MAX_PICTURE_PIXELS:,} are read: scale it down"
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if _has_picture_signature(path):
            raise _broken_picture(path, error) from error
        raise InputError(
            f"picture {path} is not a PNG, JPEG or WebP image; convert it, for example with an image editor"
        ) from error


def _has_picture_signature(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(12)
    return head.startswith((b"\x89PNG", b"\xff\xd8\xff")) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def _broken_picture(path: Path, error: BaseException) -> InputError:
    return InputError(f"picture {path} is truncated or damaged ({error}); export or download it again")


def _check_picture_size(path: Path, image: Image.Image) -> None:
    width, height = image.size
    if min(width, height) < MIN_PICTURE_PX:
        raise InputError(
            f"picture {path} is {width}x{height} px; each side needs at least {MIN_PICTURE_PX}: use a larger picture"
        )
    if width * height > MAX_PICTURE_PIXELS:
        raise InputError(
            f"picture {path} is {width}x{height} px; at most {MAX_PICTURE_PIXELS:,} pixels are read: scale it down"
        )


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged metadata raises nearly anything; the pixels are still good
        return image


def _flattened(image: Image.Image) -> Image.Image:
    """8-bit RGB of any mode, transparency laid over neutral grey."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":  # 16-bit grey: a plain convert() would clip, not scale
        samples = np.asarray(image).astype(np.float64)
        eight_bit = np.clip(np.round(samples / 257.0), 0, 255).astype(np.uint8)
        return Image.fromarray(eight_bit).convert("RGB")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        rgba = image.convert("RGBA")
        grey = Image.new("RGBA", rgba.size, (NEUTRAL_GREY, NEUTRAL_GREY, NEUTRAL_GREY, 255))
        return Image.alpha_composite(grey, rgba).convert("RGB")
    return image.convert("RGB")


def crop_box(source: tuple[int, int], target: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest box (left, top, right, bottom) of the target's aspect inside the source, in source pixels."""
    source_w, source_h = source
    scale = min(source_w / target[0], source_h / target[1])
    width, height = min(target[0] * scale, source_w), min(target[1] * scale, source_h)
    left = (source_w - width) / 2
    top = (source_h - height) * TOP_SHARE_OF_CUT
    return left, top, left + width, top + height


# -------------------------------------------------------------------------------------------------------------- voice


def read_voice(path: str | os.PathLike[str], *, strict: bool = False) -> np.ndarray:
    """The whole voice as float32 [n], mono, 16 kHz, within -1..1. With `strict`, silence is an error."""
    return np.concatenate(list(stream_voice(path, chunk_s=10.0, strict=strict)))


def stream_voice(
    path: str | os.PathLike[str], chunk_s: float = BLOCK_S, *, strict: bool = False
) -> Iterator[np.ndarray]:
    """Pieces of `chunk_s` seconds (the last one shorter) of what `read_voice` gives, in bounded memory.

    A damaged or silent file is reported where the damage is met, so by the last piece at the latest.
    """
    path = require_file(path, "voice")
    chunk = round(chunk_s * VOICE_RATE_HZ)
    if chunk < 1:
        raise InputError(f"chunk_s={chunk_s} is less than one sample; use at least {1 / VOICE_RATE_HZ} s")
    return _rechunked(_checked(_decoded(path), path, strict), chunk)


def _rechunked(pieces: Iterable[np.ndarray], chunk: int) -> Iterator[np.ndarray]:
    waiting: list[np.ndarray] = []
    n_waiting = 0
    for piece in pieces:
        waiting.append(piece)
        n_waiting += len(piece)
        if n_waiting < chunk:
            continue
        joined = np.concatenate(waiting)
        whole = n_waiting - n_waiting % chunk
        for begin in range(0, whole, chunk):
            yield joined[begin : begin + chunk].copy()
        waiting, n_waiting = [joined[whole:].copy()], n_waiting - whole
    if n_waiting:
        yield np.concatenate(waiting)


def _checked(pieces: Iterable[np.ndarray], path: Path, strict: bool) -> Iterator[np.ndarray]:
    """The same pieces; the end tells whether there was enough sound, and any at all."""
    n_samples, peak = 0, 0.0
    for piece in pieces:
        n_samples += len(piece)
        peak = max(peak, float(np.abs(piece).max(initial=0.0)))
        yield piece
    if n_samples < round(BLOCK_S * VOICE_RATE_HZ):
        raise InputError(
            f"voice {path} is {n_samples / VOICE_RATE_HZ:.2f} s; at least {BLOCK_S} s (one block) is needed: pad it "
            f"with silence, for example ffmpeg -i {path.name} -af apad=whole_dur={BLOCK_S} padded.wav"
        )
    if peak < 10 ** (SILENCE_DBFS / 20):
        level = f"{20 * math.log10(peak):.0f} dBFS" if peak > 0 else "digital silence"
        message = f"voice {path} is silent (peak {level}, speech is above {SILENCE_DBFS:.0f}); check the recording"
        if strict:
            raise InputError(message)
        warnings.warn(message, SilentAudioWarning, stacklevel=2)


@dataclass
class _Promise:
    """What the header says of the length, against what came."""

    rate_hz: int
    n_promised: int | None
    slack_s: float
    n_decoded: int = 0

    def check(self, path: Path) -> None:
        if self.n_promised is None or self.n_decoded >= self.n_promised - self.slack_s * self.rate_hz:
            return
        raise InputError(
            f"voice {path} is truncated: its header promises {self.n_promised / self.rate_hz:.2f} s and "
            f"{self.n_decoded / self.rate_hz:.2f} s are there; export or download it again"
        )


def _decoded(path: Path) -> Iterator[np.ndarray]:
    """float32 mono pieces at 16 kHz of the file's first audio stream."""
    import av

    with _open_voice(path) as container:
        if not container.streams.audio:
            raise InputError(f"voice {path} has no audio stream; give a file with sound (WAV, MP3, FLAC, OGG, M4A)")
        stream = container.streams.audio[0]
        stream.thread_type = "NONE"
        promise = _promise(path, container.format.name, stream)
        try:
            yield from _resampled(_mono(container.decode(stream), path, promise), promise.rate_hz)
        except (av.FFmpegError, EOFError) as error:
            at_s = promise.n_decoded / max(promise.rate_hz, 1)
            raise InputError(
                f"voice {path} is truncated or damaged after {at_s:.2f} s ({_reason(error)}); "
                "export or download it again"
            ) from error
        promise.check(path)
        if _wav_lacks_bytes(path) or _ends_inside_ogg_page(path):
            raise InputError(
                f"voice {path} is truncated: {promise.n_decoded / promise.rate_hz:.2f} s are there and its structure "
                "promises more; export or download it again"
            )


def _open_voice(path: Path) -> Any:
    import av

    options = {"format_whitelist": _VOICE_FORMATS, "protocol_whitelist": "file"}
    try:
        return av.open(f"file:{path}", options=options)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(
            f"voice {path} is not audio that can be read, or is truncated before its header ends ({_reason(error)}); "
            "give a WAV, MP3, FLAC, OGG or M4A file"
        ) from error


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error)


def _promise(path: Path, format_name: str, stream: Any) -> _Promise:
    """Headers count samples exactly only in some formats; an estimate from the bit rate promises nothing."""
    codec = stream.codec_context.name
    rate_hz = int(stream.rate or 0)
    if rate_hz <= 0:
        raise InputError(f"voice {path} states no sample rate; convert it, for example to a 16 kHz WAV")
    is_estimate = format_name == "aac" or (format_name == "mp3" and not _has_mp3_length(path))
    if stream.duration is None or is_estimate:
        return _Promise(rate_hz, None, 0.0)
    is_lossless = codec.startswith("pcm_") or codec == "flac"
    n_promised = int(stream.duration * stream.time_base * rate_hz)
    return _Promise(rate_hz, n_promised, slack_s=0.01 if is_lossless else 0.1)


def _has_mp3_length(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(10)
        # An ID3v2 tag, perhaps with a cover picture, stands before the first frame; its size has 7 bits a byte.
        tag_bytes = 0
        if head[:3] == b"ID3" and len(head) == 10:
            tag_bytes = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        file.seek(tag_bytes)
        first_frame = file.read(4096)
    return any(mark in first_frame for mark in (b"Xing", b"Info", b"VBRI"))


def _wav_lacks_bytes(path: Path) -> bool:
    """Whether the data chunk of a RIFF file states more bytes than there are (FFmpeg takes what it finds)."""
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return False
        while len(chunk := file.read(8)) == 8:
            kind, n_bytes = struct.unpack("<4sI", chunk)
            if kind == b"data":
                # Programs that write into a pipe state a size near 2 or 4 GiB; some count the header in.
                n_missing: int = file.tell() + n_bytes - file_bytes
                return n_bytes < 0x7FFF_0000 and n_missing > WAV_SLACK_BYTES
            file.seek(n_bytes + n_bytes % 2, os.SEEK_CUR)
    return False


def _ends_inside_ogg_page(path: Path) -> bool:
    """Whether the last Ogg page states more bytes than the file still has (the decoder drops such a page silently)."""
    with path.open("rb") as file:
        if file.read(4) != b"OggS":
            return False
        file.seek(max(0, path.stat().st_size - 2 * 65_307))  # 65,307 bytes: the longest page there is
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    return len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _mono(frames: Iterable[Any], path: Path, promise: _Promise) -> Iterator[np.ndarray]:
    """Decoded frames as float32 mono at their own rate (the mean of the channels), every sample finite."""
    for frame in frames:
        if frame.sample_rate != promise.rate_hz:
            raise InputError(
                f"voice {path} changes its sample rate from {promise.rate_hz} to {frame.sample_rate} Hz; "
                "convert it to one rate first"
            )
        samples = _as_float(frame)
        if not np.isfinite(samples).all():
            raise InputError(f"voice {path} has NaN or infinite samples; repair or export it again")
        if np.abs(samples).max(initial=0.0) > MAX_FLOAT_PEAK:
            raise InputError(
                f"voice {path} has samples up to {np.abs(samples).max():.3g}; floating-point audio lies within -1..1: "
                "scale it down"
            )
        promise.n_decoded += samples.shape[1]
        yield samples.mean(axis=0, dtype=np.float32)


def _as_float(frame: Any) -> np.ndarray:
    """One decoded frame as float32 [channels, n], full scale 1."""
    samples: np.ndarray = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - np.float32(128.0)) / np.float32(128.0)
    if samples.dtype.kind == "i":
        return (samples / float(2 ** (8 * samples.dtype.itemsize - 1))).astype(np.float32)
    with np.errstate(over="ignore"):
        return samples.astype(np.float32)


def _resampled(pieces: Iterable[np.ndarray], rate_hz: int) -> Iterator[np.ndarray]:
    import av

    if rate_hz == VOICE_RATE_HZ:
        yield from (np.clip(piece, -1.0, 1.0) for piece in pieces)
        return
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=VOICE_RATE_HZ)
    for piece in pieces:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece[None]), format="fltp", layout="mono")
        frame.sample_rate = rate_hz
        yield from _arrays(resampler.resample(frame))
    yield from _arrays(resampler.resample(None))


def _arrays(frames: Iterable[Any]) -> Iterator[np.ndarray]:
    for frame in frames:
        yield np.clip(frame.to_ndarray().reshape(-1), -1.0, 1.0).astype(np.float32, copy=False)
