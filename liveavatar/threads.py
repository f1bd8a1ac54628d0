"""A process's threads, shared between denoising, decoding and writing: for programs that own their process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_shares = 1  # how many kinds of work at once torch's threads of this process were divided among


def share_threads(device: str = "cpu") -> bool:
    """Halve torch's threads of this process; whether streams should overlap decoding with denoising (`pipeline.load`).

    On a processor with two threads or more. Two halves, each at its own work, finish a stream sooner than both together on
    one operation after the other (docs/performance.md).
    """
    import torch

    global _shares
    threads = torch.get_num_threads()
    if torch.device(device).type != "cpu" or threads < 2:
        return False
    torch.set_num_threads(threads // 2)
    _shares = 2
    return True


def threads_of_process() -> int:
    """Torch's threads of this process, those of all shares together."""
    import torch

    return _shares * torch.get_num_threads()


@contextlib.contextmanager
def all_threads() -> Iterator[None]:
    """All of the process's threads for this one thread of Python's: while nothing else has work to do."""
    import torch

    own = torch.get_num_threads()
    torch.set_num_threads(threads_of_process())
    try:
        yield
    finally:
        torch.set_num_threads(own)


def map_beside(work: Callable[[T], R], items: Iterable[T], thread: Executor | None) -> Iterator[R]:
    """`map(work, items)` with the work on one item done in `thread` while the next item is made; results in order.

    None: the work is done in between, as `map` does. What `work` raises comes out one item later; an item that was begun is
    finished before the iterator ends or is closed.
    """
    if thread is None:
        yield from map(work, items)
        return
    newest: Future[R] | None = None
    try:
        for item in items:
            before, newest = newest, thread.submit(work, item)
            if before is not None:
                yield before.result()
        if newest is not None:
            yield newest.result()
    finally:
        if newest is not None:
            wait([newest])
