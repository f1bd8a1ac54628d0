"""Whole evaluations recorded once and replayed, for devices that outrun the launching of their own work (CUDA graphs).

A recording works at fixed addresses: the ring slot that the block is written to, and the tensors it reads. So there is one
per cache and slot, made once the ring turns over, and what changes from block to block is copied into tensors that all
recordings share. What stands in the cache (sink, past) is put there outside, as without recordings. Results do not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from liveavatar.streaming.cache import RollingCache
from liveavatar.streaming.rollout import Rollout, StepInputs

Work = Callable[[], Tensor]
FED = ("x", "voice", "table", "cond", "levels", "constants")  # the text is not copied: it is large and seldom changes


@dataclass(frozen=True)
class Recording:
    """Work that `replay` does again at the same addresses; `result` holds what came out last."""

    result: Tensor
    replay: Callable[[], None]


class DeviceRecorder:
    """Records the work that a device is given; all recordings of one recorder share their memory."""

    def __init__(self, device: torch.device) -> None:
        """Raises ValueError for a device that cannot record."""
        self.device, self.module = device, torch.get_device_module(device)
        if not can_record(device):
            raise ValueError(f"device {str(device)!r} cannot record graphs of its work; leave out graphs")
        self.pool = self.module.graph_pool_handle()

    def __call__(self, work: Work) -> Recording:
        """Do the work once beside the recording, so that libraries have what they keep, and record it."""
        side, current = self.module.Stream(self.device), self.module.current_stream(self.device)
        side.wait_stream(current)
        with self.module.stream(side):
            work()
        current.wait_stream(side)
        graph = self.module.CUDAGraph()
        with self.module.graph(graph, pool=self.pool):
            result = work()
        return Recording(result, graph.replay)


def can_record(device: torch.device) -> bool:
    """Whether this kind of device has recordings at all."""
    return hasattr(torch.get_device_module(device), "CUDAGraph")


class GraphedRollout(Rollout):
    """A `Rollout` that replays its evaluations once its ring has turned over: from then on they all have the same shapes."""

    recorder_type: Callable[[torch.device], Callable[[Work], Recording]] = DeviceRecorder

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recorder = self.recorder_type(self.sink.keys.device)
        self._forget()

    def _forget(self) -> None:
        self._fed: StepInputs | None = None  # what recordings read
        self._given: dict[str, Any] = {}  # what was copied there last
        self._recordings: dict[tuple[int, int], tuple[Any, Recording]] = {}  # by cache and slot, with the text they read

    def _call_model(self, cache: RollingCache, block: int, inputs: StepInputs) -> Tensor:
        if block < cache.slots:
            return super()._call_model(cache, block, inputs)
        fed, key = self._feed(inputs), (self.caches.index(cache), block % cache.slots)
        text, recording = self._recordings.get(key, (None, None))
        if recording is None or text is not inputs.text:
            evaluate = super()._call_model
            recording = self._recorder(lambda: evaluate(cache, block, fed))
            self._recordings[key] = (inputs.text, recording)
        recording.replay()
        return recording.result.clone()

    def _feed(self, inputs: StepInputs) -> StepInputs:
        """The inputs at the addresses that recordings read, with the text and time of these."""
        given = {name: getattr(inputs, name) for name in FED}
        if self._fed is None or shapes_of(given) != shapes_of({name: getattr(self._fed, name) for name in FED}):
            self._forget()
            self._fed = replace(inputs, **{name: with_tensors(value, Tensor.clone) for name, value in given.items()})
        else:
            for name, value in given.items():
                if value is not self._given[name]:
                    _copy(tensors_in(getattr(self._fed, name)), tensors_in(value))
        self._given = given
        return replace(self._fed, text=inputs.text, time=inputs.time)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in dataclasses, tuples, lists and dictionaries, always in the same order."""
    if isinstance(value, Tensor):
        yield value
    for part in _parts(value).values():
        yield from tensors_in(part)


def with_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same dataclasses, tuples, lists and dictionaries with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    parts = {name: with_tensors(part, change) for name, part in _parts(value).items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **parts)
    if isinstance(value, tuple | list):
        return type(value)(parts.values())
    return parts if isinstance(value, dict) else value


def shapes_of(value: Any) -> list[tuple[torch.Size, torch.dtype]]:
    """What must be equal for one value to be copied into another."""
    return [(tensor.shape, tensor.dtype) for tensor in tensors_in(value)]


def _parts(value: Any) -> dict[Any, Any]:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, tuple | list):
        return dict(enumerate(value))
    return value if isinstance(value, dict) else {}


def _copy(there: Iterator[Tensor], here: Iterator[Tensor]) -> None:
    torch._foreach_copy_(list(there), list(here))
