"""A process's share of one stream: the parts that its role has, how blocks come to it, and what it does to each."""

from __future__ import annotations

import time
from collections.abc import Iterator

from torch import Tensor

from liveavatar.streaming.picture import PictureLatents
from liveavatar.streaming.showing import Showing
from liveavatar.tpp.acknowledgements import acknowledger
from liveavatar.tpp.message import Block
from liveavatar.tpp.order import StreamOrder, forget_stream, prompt_of, publish_prompt
from liveavatar.tpp.parts import Credits, Denoiser, Front, Presenter, first_latent
from liveavatar.tpp.sources import Source
from liveavatar.tpp.workplace import Workplace


class StreamShare:
    """Opened once per stream, in every process."""

    def __init__(self, place: Workplace, number: int, order: StreamOrder, source: Source | None) -> None:
        """source: the stream's sound, where it arrives."""
        self.place, self.number, self.order, self.role = place, number, order, place.role
        self._prompts = {0: order.prompt}  # by number, where they are given out
        begin, options = time.perf_counter(), order.options
        coded = place.pipeline.code(order.reference, options)
        self.recode = place.pipeline.recode(order.reference, options)
        self.credits = Credits(order.in_flight)
        self.denoiser = self._denoiser(coded) if self.role.stage.steps else None
        self.presenter: Presenter | None = None
        if self.role.is_end and self.role.stage.decodes:
            decoder = place.pipeline.decoder(order.reference, options, coded)
            self.presenter = Presenter(Showing(decoder, place.pipeline.config, options))
        self.front = self._front(source) if source is not None else None
        self._acknowledge = None
        if order.in_flight is not None and self.role.is_end and not self.role.is_front:
            self._acknowledge = acknowledger(place.layout.roles[0].rank, place.watch)
        place.trace.work("prefill", begin, time.perf_counter(), -1)

    def blocks(self) -> Iterator[Block]:
        """Blocks in order, until the stream ends or its viewer has left. Raises StageFaultError."""
        if self.front is not None:
            yield from self.front.blocks(self.credits, self._goes_on)
            return
        inbox, number = self.place.inbox, 0
        assert inbox is not None
        while (block := inbox.take(self.place.trace, number)) is not None:
            yield block
            inbox.done()
            number += 1
        inbox.done()

    def work(self, block: Block) -> Block:
        """This stage's steps of a block; its first latent frame to whoever waits for it."""
        if self.place.fan is not None:
            self.place.fan.put(block, self.place.trace)
        if self.denoiser is not None:
            block = self.denoiser(block, self.place.trace)
        if block.number == 0 and self._makes_sink():
            content = first_latent(block) if self.recode is None else self.recode(first_latent(block))
            self.place.board.put_tensors(f"sink/{self.number}", {"latent": content})
        return block

    def shown(self, block: int) -> None:
        """The viewer has taken a block."""
        self.credits.shown(block)
        if self._acknowledge is not None:
            self._acknowledge(self.number, block)

    def stop(self) -> None:
        """The viewer has left: let the front know, once."""
        if self.number not in self.place.watch.stopped:
            self.place.watch.stopped.add(self.number)
            self.place.board.put(f"stop/{self.number}", True)

    def forget(self) -> None:
        """Take down from the board what this stream put there; for the front, when all have left the stream."""
        forget_stream(self.place.board, self.number, list(self._prompts))
        if self.place.rows is not None:
            self.place.rows.forget()

    # ------------------------------------------------------------------------------------------------------- parts

    def _front(self, source: Source) -> Front:
        place = self.place
        if self.order.in_flight is not None and not self.role.is_end:
            place.acknowledgements.tell(self.number, self.credits)
        return Front(self.order, source, place.pipeline.components, place.device, place.trace, self._new_prompt)

    def _new_prompt(self, number: int, prompt: str) -> None:
        self._prompts[number] = prompt
        if not self.place.membership.is_alone:
            self.place.pipeline.components.prompt_rows(prompt)  # makes them, for all
            publish_prompt(self.place.board, self.number, number, prompt)

    def _denoiser(self, coded: PictureLatents) -> Denoiser:
        place, order, options = self.place, self.order, self.order.options
        texts = place.pipeline.texts_of(options)
        steps = self.role.stage.steps
        rollout = place.rollout_type(
            place.pipeline.transformer,
            options,
            texts(order.prompt),
            coded.sink,
            place.pipeline.config.block_latents,
            coded.motion,
            key=(order.seed, order.sample_id),
            recode=self.recode,
            negative=texts(order.negative_prompt) if options.guidance != 1 else None,
            own=steps,
            adapted=self._await_sink if options.aas and len(steps) < options.steps else None,
        )
        return Denoiser(rollout, texts, self._prompt, place.device)

    def _await_sink(self) -> Tensor:
        """AAS: the new sink, told to all at once by the stage that has it first."""
        place, name = self.place, f"sink/{self.number}"
        assert self.denoiser is not None
        place.watch.rests()
        with place.trace.waiting("sink", -1):
            place.board.wait(name, place.watch.check)
        place.watch.works_on("the new sink")
        self.denoiser.sink_wait_end = time.perf_counter()
        return place.board.get_tensors(name)["latent"].to(place.device)

    def _prompt(self, number: int) -> str:
        """A prompt's words."""
        if number not in self._prompts:
            self._prompts[number] = prompt_of(self.place.board, self.number, number, self.place.watch.check)
        return self._prompts[number]

    def _makes_sink(self) -> bool:
        """Whether others wait for the new sink and this process is the first that can say what it is."""
        options, stages = self.order.options, self.place.layout.stages
        denoising = [number for number, stage in enumerate(stages) if stage.steps]
        maker = len(stages) - 1 if options.aas_content == "recoded" else denoising[-1]
        return options.aas and len(denoising) > 1 and self.role.is_leader and self.role.number == maker

    def _goes_on(self) -> bool:
        """Whether more blocks are wanted. Raises StageFaultError."""
        self.place.watch.check()
        self.place.watch.rests()
        return self.number not in self.place.watch.stopped
