"""Our generator as a stream: frames that are counted, or kept together with the state that the next ones come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    import numpy as np

    from liveavatar.config import ProfileConfig
    from liveavatar.streaming.session import Session


class LiveListening:
    """A session that says how many frames each chunk has; the frames are in host memory by then."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def push(self, samples: np.ndarray) -> Iterator[int]:
        """See `evalkit.scenarios.Listening`."""
        for chunk in self.session.push(samples):
            yield len(chunk.frames)

    def flush(self) -> Iterator[int]:
        """See `evalkit.scenarios.Listening`."""
        for chunk in self.session.flush():
            yield len(chunk.frames)


class LiveFrames:
    """A session whose state after a block can be kept in a file (`evalkit.long_stream.FrameStream`)."""

    def __init__(self, session: Session, config: ProfileConfig) -> None:
        self.session = session
        self.width, self.height, self.fps = config.width, config.height, float(config.fps)
        self.thread: Executor | None = session.thread

    def push(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """Frames of each block that these samples complete."""
        for chunk in self.session.push(samples):
            yield chunk.frames

    def flush(self) -> Iterator[np.ndarray]:
        """Frames of what is left when the sound has ended."""
        for chunk in self.session.flush():
            yield chunk.frames

    def save(self, path: Path) -> bool:
        """Tensors and numbers, as torch saves them: straight to the file, so that memory stays as it is."""
        import torch

        from evalkit.store import write_stream
        from liveavatar.streaming.state import session_state

        found = session_state(self.session)
        if found is not None:
            write_stream(path, lambda file: torch.save(found, file))
        return found is not None

    def restore(self, path: Path) -> None:
        """Go on from such a state."""
        import torch

        from liveavatar.streaming.state import restore_session

        restore_session(self.session, torch.load(path, weights_only=True, map_location="cpu"))

    def position(self) -> float | None:
        """The sink's, which stands ahead of all others."""
        placed = [cache.placed for cache in self.session.rollout.caches if cache.placed is not None]
        return max((one[2] for one in placed), default=None)
