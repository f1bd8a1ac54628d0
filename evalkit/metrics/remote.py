"""An extractor in its own Python: pictures and sound go over a pipe, arrays come back.

For networks whose packages clash with this environment's. The other interpreter needs this package and what the network
needs; nothing else is shared. One process per extractor serves clip after clip; if it dies, the error carries the end of
its log.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np

from evalkit.metric_setup import MetricSetup
from evalkit.metrics.backbones import backbone_of
from evalkit.metrics.base import Backbone, Clip, Extractor, FeatureStream

LOG_CHARS = 2000
_HEAD = struct.Struct("<cQ")
HELLO, OPEN, FRAMES, AUDIO, FINISH, ARRAYS, ERROR = b"h", b"o", b"f", b"a", b"s", b"r", b"e"


class RemoteError(RuntimeError):
    """The other interpreter failed; the message says how."""


class RemoteExtractor(Extractor):
    """Stands for the extractor `name` that runs under `setup.interpreter(name)`."""

    def __init__(self, name: str, setup: MetricSetup):
        self.name, self._setup = name, setup  # type: ignore[misc]
        python = setup.interpreter(name)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the process)
        there = replace(setup, interpreters=())
        command = [python, "-m", "evalkit.metrics.remote", name, json.dumps(asdict(there))]
        root = str(Path(__file__).resolve().parents[2])
        paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env={**os.environ, "PYTHONPATH": paths},
            )
        except OSError as error:
            raise RemoteError(f"{python} cannot be started for {name}: {error}") from error
        facts = json.loads(self._receive(HELLO))
        self.rate_hz, self.version = float(facts["rate_hz"]), int(facts["version"])  # type: ignore[misc]

    @property
    def backbone(self) -> Backbone:
        return backbone_of(self.name, self._setup)

    def open(self, clip: Clip) -> FeatureStream:
        self.send(OPEN, json.dumps(_clip_to_json(clip)).encode())
        return RemoteStream(self)

    def send(self, kind: bytes, body: bytes) -> None:
        """One message; a broken pipe becomes the other side's story."""
        assert self._process.stdin is not None
        try:
            write_message(self._process.stdin, kind, body)
        except (BrokenPipeError, OSError) as error:
            raise RemoteError(self._story()) from error

    def arrays(self) -> dict[str, np.ndarray]:
        """The finished clip's arrays."""
        return unpack(self._receive(ARRAYS))

    def close(self) -> None:
        """End the other process."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._process.wait(timeout=30)
        self._log.close()

    def _receive(self, wanted: bytes) -> bytes:
        assert self._process.stdout is not None
        message = read_message(self._process.stdout)
        if message is None:
            raise RemoteError(self._story())
        kind, body = message
        if kind == ERROR:
            raise RemoteError(f"{self.name} in its own interpreter: {body.decode()}")
        if kind != wanted:
            raise RemoteError(f"{self.name} in its own interpreter answered {kind!r} where {wanted!r} was due")
        return body

    def _story(self) -> str:
        code = self._process.wait(timeout=30)
        self._log.seek(0)
        tail = self._log.read()[-LOG_CHARS:].decode(errors="replace").strip()
        return f"{self.name} in its own interpreter ended with code {code}: {tail or 'no output'}"


class RemoteStream(FeatureStream):
    """Hands everything over as it comes."""

    def __init__(self, extractor: RemoteExtractor):
        self._extractor = extractor

    def frames(self, frames: np.ndarray, times_s: np.ndarray) -> None:
        self._extractor.send(FRAMES, pack({"frames": frames, "times_s": times_s}))

    def audio(self, samples: np.ndarray) -> None:
        self._extractor.send(AUDIO, pack({"samples": samples}))

    def finish(self) -> dict[str, np.ndarray]:
        self._extractor.send(FINISH, b"")
        return self._extractor.arrays()


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays as bytes, without pickles."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack(body: bytes) -> dict[str, np.ndarray]:
    """Inverse of `pack`."""
    with np.load(io.BytesIO(body), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def write_message(pipe: IO[bytes], kind: bytes, body: bytes) -> None:
    """Kind, length, body."""
    pipe.write(_HEAD.pack(kind, len(body)) + body)
    pipe.flush()


def read_message(pipe: IO[bytes]) -> tuple[bytes, bytes] | None:
    """The next message, or None at the end."""
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    kind, length = _HEAD.unpack(head)
    return kind, pipe.read(length)


def _clip_to_json(clip: Clip) -> dict[str, Any]:
    """What may travel of a clip: numbers, the face box and the portrait's path."""
    sample = clip.sample
    image = sample.inputs().image if hasattr(sample, "inputs") else None
    box = getattr(sample, "face_box", None)
    return {
        **{name: getattr(clip, name) for name in ("width", "height", "fps", "has_audio")},
        "image": None if image is None else str(Path(image).resolve()),
        "face_box": None if box is None else [float(value) for value in box],
    }


def _clip_from_json(content: dict[str, Any]) -> Clip:
    image, box = content.pop("image"), content.pop("face_box")
    sample = SimpleNamespace()
    if box is not None:
        sample.face_box = tuple(box)
    if image is not None:
        sample.inputs = lambda: SimpleNamespace(image=Path(image))
    return Clip(**content, sample=sample)


def serve(name: str, setup: MetricSetup, orders: IO[bytes], answers: IO[bytes]) -> None:
    """The other side: one extractor, clip after clip, until the pipe ends."""
    from evalkit.metrics.registry import get_extractor

    extractor = get_extractor(name, setup)
    facts = {"rate_hz": extractor.rate_hz, "version": extractor.version}
    write_message(answers, HELLO, json.dumps(facts).encode())
    stream: FeatureStream | None = None
    failure: Exception | None = None
    while (message := read_message(orders)) is not None:
        kind, body = message
        try:
            if kind == OPEN:
                failure, stream = None, extractor.open(_clip_from_json(json.loads(body)))
            elif stream is not None and failure is None:
                _obey(stream, kind, body, answers)
        except Exception as error:  # told when the clip ends, so that both sides stay in step
            failure = error
        if kind == FINISH and failure is not None:
            write_message(answers, ERROR, f"{type(failure).__name__}: {failure}".encode())


def _obey(stream: FeatureStream, kind: bytes, body: bytes, answers: IO[bytes]) -> None:
    if kind == FRAMES:
        stream.frames(**unpack(body))
    elif kind == AUDIO:
        stream.audio(**unpack(body))
    elif kind == FINISH:
        write_message(answers, ARRAYS, pack(stream.finish()))


def main(arguments: list[str]) -> None:
    """`python -m evalkit.metrics.remote EXTRACTOR SETUP`: messages on standard input and output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever libraries print goes to the log, not between our messages
    content = json.loads(arguments[1])
    content["interpreters"] = tuple(map(tuple, content["interpreters"]))
    serve(arguments[0], MetricSetup(**content), sys.stdin.buffer, answers)


if __name__ == "__main__":
    main(sys.argv[1:])
