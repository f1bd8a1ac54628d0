"""Ways of blocks between processes: messages received ahead and sent behind, while the stage computes.

One thread receives and one sends, each with buffers of its own; a buffer is free again when its block has been used. So at
most `depth` blocks wait between two stages: who cannot hand on stops, and in the end no more sound is taken.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from liveavatar.tpp.message import Block, MessageForm
from liveavatar.tpp.trace import Trace
from liveavatar.tpp.watch import Watch

LOOK_S = 0.1  # how often a wait looks whether there is a fault
Item = TypeVar("Item")
Transfer = Callable[[Tensor], None]  # fills a buffer, or empties it; returns when that is done


def sender(rank: int, device: torch.device) -> Transfer:
    """Sends a buffer to a rank."""
    aside = _Aside(device)
    return lambda buffer: aside.run(lambda: dist.send(buffer, rank))


def receiver(rank: int, device: torch.device) -> Transfer:
    """Receives a buffer from a rank."""
    aside = _Aside(device)
    return lambda buffer: aside.run(lambda: dist.recv(buffer, rank))


def sharer(leader: int, group: dist.ProcessGroup, device: torch.device) -> Transfer:
    """Gives the leader's buffer to all of a group: everyone calls it, the leader with what it has."""
    aside = _Aside(device)
    return lambda buffer: aside.run(lambda: dist.broadcast(buffer, leader, group=group))


class _Aside:
    """Work beside that of the main thread: on a stream of its own where the device has streams, waited for on the host."""

    def __init__(self, device: torch.device) -> None:
        self.stream = None if device.type == "cpu" else torch.Stream(device=device)

    def run(self, work: Callable[[], object]) -> None:
        if self.stream is None:
            work()
            return
        with self.stream:
            work()
        self.stream.synchronize()


def synchronise(device: torch.device) -> None:
    """Until the device has done everything that this thread gave it."""
    if device.type != "cpu":
        torch.accelerator.current_stream(device).synchronize()


class Inbox:
    """Blocks from the stage before. `take` gives the next one; `done` gives its buffer back."""

    def __init__(self, form: MessageForm, transfer: Transfer, source: int, device: torch.device, watch: Watch) -> None:
        self.form, self.transfer, self.source, self.watch = form, transfer, source, watch
        self._free: queue.SimpleQueue[Tensor | None] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[Tensor, float, float]] = queue.SimpleQueue()
        self._used: Tensor | None = None
        for _ in range(2):  # one is received while the other is worked on
            self._free.put(form.buffer(device))
        self._thread = threading.Thread(target=self._receive, name="receive", daemon=True)
        self._thread.start()

    def take(self, trace: Trace, block: int) -> Block | None:
        """The next block, or None at the stream's end; its tensors hold until `done`. Raises StageFaultError."""
        with trace.waiting("block", block):
            buffer, begin, end = next_of(self._full, self.watch)
        trace.add("receive", begin, end, block, bytes=self.form.nbytes, place=trace.stage)
        self._used = buffer
        return self.form.unpack(buffer)

    def done(self) -> None:
        """The block taken last is not needed any more."""
        if self._used is not None:
            self._free.put(self._used)
            self._used = None

    def close(self) -> None:
        """No more blocks are wanted."""
        self._free.put(None)

    def _receive(self) -> None:
        while (buffer := self._free.get()) is not None:
            begin = time.perf_counter()
            self.watch.receiving_since = self.watch.clock.now()
            try:
                self.transfer(buffer)
            except RuntimeError as error:
                self.watch.found(self.source, f"ended without a word ({_short(error)})")
                return
            self.watch.receiving_since = None
            self._full.put((buffer, begin, time.perf_counter()))


class Outbox:
    """Blocks to the stage behind. `put` returns when the block is packed; sending goes on meanwhile."""

    def __init__(
        self, form: MessageForm, transfer: Transfer, target: int, device: torch.device, watch: Watch, depth: int = 2
    ) -> None:
        """depth: blocks that may wait between the two stages: 1 in the other's buffer, all others here."""
        self.form, self.transfer, self.target, self.device, self.watch = form, transfer, target, device, watch
        self._free: queue.SimpleQueue[Tensor] = queue.SimpleQueue()
        self._full: queue.SimpleQueue[tuple[Tensor, int, Trace] | None] = queue.SimpleQueue()
        self._buffers = max(1, depth - 1)
        self._is_strict = depth == 1
        for _ in range(self._buffers):
            self._free.put(form.buffer(device))
        self._thread = threading.Thread(target=self._send, name="send", daemon=True)
        self._thread.start()

    def put(self, block: Block, trace: Trace) -> None:
        """Hand a block on; waits for room. Raises StageFaultError."""
        with trace.waiting("room", block.number):
            buffer = next_of(self._free, self.watch)
        self.form.pack(block, buffer)
        synchronise(self.device)
        self._full.put((buffer, block.number, trace))
        if self._is_strict:
            with trace.waiting("room", block.number):
                self._drain()

    def put_end(self, blocks: int, trace: Trace) -> None:
        """Say that the stream is over, and wait until everything has left."""
        buffer = next_of(self._free, self.watch)
        self.form.pack_end(buffer, blocks)
        synchronise(self.device)
        self._full.put((buffer, blocks, trace))
        self._drain()

    def close(self) -> None:
        """Nothing will be sent any more."""
        self._full.put(None)

    def _drain(self) -> None:
        """Until every buffer is free again."""
        held = [next_of(self._free, self.watch) for _ in range(self._buffers)]
        for buffer in held:
            self._free.put(buffer)

    def _send(self) -> None:
        while (item := self._full.get()) is not None:
            buffer, block, trace = item
            begin = time.perf_counter()
            self.watch.sending_since = self.watch.clock.now()
            try:
                self.transfer(buffer)
            except RuntimeError as error:
                self.watch.found(self.target, f"ended without a word ({_short(error)})")
                return
            self.watch.sending_since = None
            trace.add("send", begin, time.perf_counter(), block, bytes=self.form.nbytes, place=trace.stage)
            self._free.put(buffer)


def next_of(items: queue.SimpleQueue[Item], watch: Watch) -> Item:
    """The next item, looking for faults while there is none."""
    watch.rests()
    while True:
        try:
            return items.get(timeout=LOOK_S)
        except queue.Empty:
            watch.check()


def _short(error: BaseException) -> str:
    """A transport's error without its path and advice."""
    words = str(error).partition("\n")[0]
    return words.rpartition("] ")[2].partition(". ")[0][:120] or type(error).__name__
