"""An order: all that the processes of an engine must know of one stream, and how it reaches them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liveavatar.config import RolloutOptions
from liveavatar.tpp.board import Board

IDLE_POLL_S = 0.02


@dataclass(frozen=True)
class StreamOrder:
    """A stream's picture (uint8 [H, W, 3]), words and options; where its video and timeline go on the last stage's machine.

    prompts: (seconds, prompt) that take over. out: a video file, "-" for standard output, None for nowhere.
    """

    reference: np.ndarray
    options: RolloutOptions
    prompt: str = ""
    negative_prompt: str = ""
    prompts: tuple[tuple[float, str], ...] = ()
    seed: int = 0
    sample_id: str = ""
    out: str | None = None
    timeline: str | None = None
    in_flight: int | None = None

    def publish(self, board: Board, stream: int) -> None:
        """Put it where all processes look."""
        board.put_tensors(f"picture/{stream}", {"picture": torch.from_numpy(self.reference.copy())})
        values = asdict(replace(self, reference=np.zeros(0)))
        del values["reference"]
        board.put(f"order/{stream}", values)

    @classmethod
    def read(cls, board: Board, stream: int, check: Callable[[], None]) -> StreamOrder | None:
        """Wait for the stream's order; None: there are no more."""
        board.wait(f"order/{stream}", check, IDLE_POLL_S)
        values = board.get(f"order/{stream}")
        if values is None:
            return None
        picture = board.get_tensors(f"picture/{stream}")["picture"].numpy()
        options: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.pop("options").items()}
        prompts = tuple((from_s, prompt) for from_s, prompt in values.pop("prompts"))
        return cls(reference=picture, options=RolloutOptions(**options), prompts=prompts, **values)

    @staticmethod
    def publish_end(board: Board, stream: int) -> None:
        """There is no stream of this number; the engine closes."""
        board.put(f"order/{stream}", None)


class SharedRows:
    """Text rows of prompts: made where the text encoder stands, read by all other stages."""

    def __init__(
        self, board: Board, check: Callable[[], None], make: Callable[[str], Tensor] | None, device: torch.device
    ) -> None:
        """make: prompt -> rows [1, up to text_len, text_dim], where the encoder is; None: they come from the board."""
        self.board, self.check, self.make, self.device = board, check, make, device
        self._shown: set[str] = set()

    def __call__(self, prompt: str) -> Tensor:
        name = self._name(prompt)
        if self.make is None:
            self.board.wait(name, self.check)
            return self.board.get_tensors(name)["rows"].to(self.device)
        rows = self.make(prompt)
        if prompt not in self._shown:
            self.board.put_tensors(name, {"rows": rows})
            self._shown.add(prompt)
        return rows

    def forget(self) -> None:
        """Take them down: every stage keeps the keys that it made of them. For the maker alone."""
        self.board.forget(*map(self._name, self._shown))
        self._shown.clear()

    @staticmethod
    def _name(prompt: str) -> str:
        return "rows/" + hashlib.sha256(prompt.encode()).hexdigest()[:32]


def publish_prompt(board: Board, stream: int, number: int, prompt: str) -> None:
    """Prompt number `number` of a stream; blocks name the number that holds for them."""
    board.put(f"prompt/{stream}/{number}", prompt)


def prompt_of(board: Board, stream: int, number: int, check: Callable[[], None]) -> str:
    """What was published."""
    board.wait(f"prompt/{stream}/{number}", check)
    return str(board.get(f"prompt/{stream}/{number}"))


def forget_stream(board: Board, stream: int, prompts: Sequence[int]) -> None:
    """Take down what a finished stream has left on the board."""
    board.forget(*(f"{what}/{stream}" for what in ("order", "picture", "sink", "stop")))
    board.forget(*(f"prompt/{stream}/{number}" for number in prompts))
