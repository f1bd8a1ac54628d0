"""The engine (Algorithm 4): one process's part in a pipeline. It loads what its role needs, once, and takes part in one
stream after another.

Every process runs the same loop: a block comes, from sound or from the stage before; this stage does its work on it; the
block goes on, to the next stage or to the viewer. Who does what is the role's business, not the loop's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from liveavatar.tpp.delivery import Consumer, Delivery, Finished
from liveavatar.tpp.membership import Membership, leave
from liveavatar.tpp.message import Block
from liveavatar.tpp.order import StreamOrder
from liveavatar.tpp.share import StreamShare
from liveavatar.tpp.sources import Source
from liveavatar.tpp.trace import TraceOutlet, TraceSender, TraceWriter
from liveavatar.tpp.watch import Fault, StageFaultError
from liveavatar.tpp.workplace import Build, EngineOptions, Workplace

FIRST_PATIENCE = 10
Streams = Iterable[tuple[StreamOrder, Source]]
ConsumerOf = Callable[[StreamOrder], Consumer]


@dataclass(frozen=True)
class StreamResult:
    """What the last stage knows of a finished stream. gone: why its viewer left; empty: it has everything."""

    number: int
    blocks: int
    frames: int
    wall_s: float
    gone: str = ""


class Engine:
    """This process's part. Use it as a context; `serve` runs streams."""

    def __init__(
        self,
        membership: Membership,
        build: Build,
        device: torch.device,
        options: EngineOptions | None = None,
        report: Callable[[Fault, bool], None] = lambda fault, claimed: None,
    ) -> None:
        """build: makes the components whose names it is given. report: told what ended it all, and whether this process was
        the first to know; called once."""
        self.place = Workplace(membership, device, options or EngineOptions())
        self._build, self._report = build, report
        self._next = 0
        self._delivery: Delivery | None = None
        self._outlet: TraceOutlet | None = None

    def __enter__(self) -> Engine:
        membership, watch = self.place.membership, self.place.watch
        watch.on_end = lambda fault: self._tell(replace(fault, kept=self._save()))
        if not membership.is_alone:
            watch.start(membership.boards(), membership.boards())
        with self._faults_told():
            self.place.furnish(self._build)
        return self

    def __exit__(self, *exception: object) -> None:
        if exception == (None, None, None):
            self.place.watch.over()
            leave(self.place.membership, self.place.board)
        self.place.close()

    def serve(self, streams: Streams, consumer_of: ConsumerOf) -> Iterator[StreamResult]:
        """Run streams one after another; the last stage yields a result for each, other processes none.

        streams: asked only where sound arrives. Raises StageFaultError when the pipeline cannot go on.
        """
        with self._faults_told():
            for order, source in self._orders(streams):
                result = self._run(order, source, consumer_of)
                self._next += 1
                if result is not None:
                    yield result

    def _orders(self, streams: Streams) -> Iterator[tuple[StreamOrder, Source | None]]:
        """Orders as they come: from the caller where sound arrives, elsewhere from there."""
        board, watch, is_alone = self.place.board, self.place.watch, self.place.membership.is_alone
        if not self.place.role.is_front:
            while (order := StreamOrder.read(board, self._next, watch.check)) is not None:
                yield order, None
            return
        for order, source in streams:
            self.place.layout.check(order.options)
            if not is_alone:
                order.publish(board, self._next)
            yield order, source
        if not is_alone:
            StreamOrder.publish_end(board, self._next)

    @torch.inference_mode()
    def _run(self, order: StreamOrder, source: Source | None, consumer_of: ConsumerOf) -> StreamResult | None:
        """This process's share of one stream."""
        place, watch, begin = self.place, self.place.watch, time.perf_counter()
        watch.works_on("opening a stream")
        watch.stream = self._next
        self._outlet = self._trace_out(order)
        share = StreamShare(place, self._next, order, source)
        if place.role.is_end:
            self._delivery = Delivery(consumer_of(order), place.trace, watch, share.shown)
        blocks = 0
        for block in share.blocks():
            watch.check()
            # What is done for the first time may have to be compiled.
            watch.works_on(f"block {block.number}", patience=FIRST_PATIENCE if self._next == blocks == 0 else 1)
            block = share.work(block)
            if place.outbox is not None:
                place.outbox.put(block, place.trace)
            if self._delivery is not None:
                self._show(share, block, self._delivery)
            self._trace_beat()
            blocks += 1
        return self._close(share, blocks, begin)

    def _show(self, share: StreamShare, block: Block, delivery: Delivery) -> None:
        """A finished block to its viewer, as frames where this stage decodes; to nobody once the viewer has left."""
        if delivery.gone:
            share.stop()
            return
        chunk = share.presenter(block, self.place.trace) if share.presenter is not None else None
        delivery.put(Finished(block.number, block.frames, chunk, block.latents.clone(), block.samples))

    def _close(self, share: StreamShare, blocks: int, begin: float) -> StreamResult | None:
        """The stream's end, passed on; what its viewer got."""
        place = self.place
        place.watch.rests()
        for link in (place.fan, place.outbox):
            if link is not None:
                link.put_end(blocks, place.trace)
        if self._delivery is not None:
            self._delivery.close()
        wall_s = time.perf_counter() - begin
        if self._outlet is not None:
            self._outlet.finish(place.board)
        delivery, self._delivery, self._outlet = self._delivery, None, None
        self._all_have_left(share)
        if delivery is None:
            return None
        return StreamResult(share.number, delivery.blocks, delivery.frames, wall_s, delivery.gone)

    def _all_have_left(self, share: StreamShare) -> None:
        """The front tidies the board when nobody looks at this stream's things any more."""
        place, name = self.place, f"left/{share.number}"
        if place.membership.is_alone:
            return
        place.board.put(f"{name}/{place.role.rank}", True)
        if place.role.is_front:
            names = [f"{name}/{role.rank}" for role in place.layout.roles]
            for each in names:
                place.board.wait(each, place.watch.check)
            share.forget()
            place.board.forget(*names)

    # ------------------------------------------------------------------------------------------------------ trace

    def _trace_out(self, order: StreamOrder) -> TraceOutlet | None:
        """Where this process's lines go: to the file at the end of the pipeline, from elsewhere to the board."""
        place = self.place
        if order.timeline is None:
            return None
        if not place.role.is_end:
            outlet: TraceOutlet = TraceSender(place.trace, self._next)
        else:
            facts, path = self._facts(order), Path(order.timeline)
            outlet = TraceWriter(place.trace, self._next, path, place.layout.devices, facts)
        place.watch.on_beat = outlet.beat
        return outlet

    def _trace_beat(self) -> None:
        """Without a watch there is nobody else to hand lines on."""
        if self.place.membership.is_alone and self._outlet is not None:
            self._outlet.beat(self.place.board)

    def _facts(self, order: StreamOrder) -> dict[str, Any]:
        """What a reader of the timeline must know of the pipeline."""
        place, config = self.place, self.place.pipeline.config
        return {
            "layout": place.layout.spec,
            "name": place.layout.name,
            "stages": [role.name for role in place.layout.roles],
            "evaluations": order.options.evaluations,
            "block_frames": config.block_frames,
            "playback_fps": config.fps,
            "depth": place.options.depth,
            "in_flight": order.in_flight,
            "message_bytes": {name: form.part_bytes | {"whole": form.nbytes} for name, form in place.forms().items()},
        }

    # ----------------------------------------------------------------------------------------------------- faults

    @contextmanager
    def _faults_told(self) -> Iterator[None]:
        """Whatever goes wrong here becomes a fault that all learn of; what the viewer has so far is saved."""
        watch, role = self.place.watch, self.place.role
        try:
            yield
        except GeneratorExit:
            raise
        except BaseException as error:
            if not isinstance(error, StageFaultError):
                watch.found(role.rank, _cause(error))
            fault = replace(watch.fault or Fault(role.name, role.rank, _cause(error)), kept=self._save())
            watch.over()
            self._tell(fault)
            raise StageFaultError(fault) from error

    def _save(self) -> str:
        """Close what the viewer gets and the timeline, as far as they go."""
        kept = self._delivery.abort() if self._delivery is not None else ""
        if self._outlet is not None:
            self._outlet.finish(self.place.board, is_done=False)
        return kept

    def _tell(self, fault: Fault) -> None:
        self._report(fault, self.place.watch.has_claimed)


def _cause(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "was interrupted"
    words = str(error).partition("\n")[0]
    return f"raised {type(error).__name__}" + (f": {words}" if words else "")
