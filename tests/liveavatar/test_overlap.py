"""Decoding beside denoising: the same frames in the same order, the first at once, errors where they belong."""

from __future__ import annotations

import copy
import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from liveavatar import pipeline
from liveavatar.config import RolloutOptions
from liveavatar.streaming.rollout import LatentBlock
from liveavatar.streaming.session import Session, VideoChunk, steps_to_hand_on
from liveavatar.streaming.state import restore_session, session_state
from liveavatar.threads import map_beside, share_threads, threads_of_process

RATE = 16_000
VOICE = (np.sin(np.arange(RATE * 5) / 25) * np.sin(np.arange(RATE * 5) / 4000)).astype(np.float32)


@pytest.fixture(scope="module")
def plain() -> pipeline.Pipeline:
    return pipeline.load("nano", weights="random-tiny")


@pytest.fixture(scope="module", params=[0, 1, 3, 9], ids=lambda steps: f"{steps} steps beside")
def overlapped(plain: pipeline.Pipeline, request: pytest.FixtureRequest) -> pipeline.Pipeline:
    return pipeline.Pipeline(plain.components, plain.rollout_type, overlaps=True, steps_beside=request.param)


def opened(loaded: pipeline.Pipeline) -> Session:
    picture = np.full((loaded.config.height, loaded.config.width, 3), 110, np.uint8)
    return loaded.open(picture, "a speaker", 5, "s")


def chunks(session: Session, sizes: list[int]) -> list[VideoChunk]:
    edges = np.cumsum([0, *sizes])
    made = [one for a, b in itertools.pairwise(edges) for one in session.push(VOICE[a:b])]
    return [*made, *session.flush()]


@pytest.mark.parametrize("sizes", [[len(VOICE)], [1000, 3 * RATE, 700, len(VOICE) - 3 * RATE - 1700], [640] * 125])
def test_the_same_frames_in_the_same_order(
    plain: pipeline.Pipeline, overlapped: pipeline.Pipeline, sizes: list[int]
) -> None:
    alone, beside = chunks(opened(plain), sizes), chunks(opened(overlapped), sizes)
    assert [(one.block, one.begin_s) for one in beside] == [(one.block, one.begin_s) for one in alone]
    assert np.array_equal(np.concatenate([one.frames for one in beside]), np.concatenate([one.frames for one in alone]))


def test_a_block_is_decoded_while_the_next_is_denoised(
    overlapped: pipeline.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding of block 1 waits until block 2 is being denoised: without overlap that would never happen."""
    session, is_denoising = opened(overlapped), threading.Event()
    decode, voices = session.showing._decode, []

    def late(latents: torch.Tensor, kept: slice) -> object:
        if threading.current_thread() is not threading.main_thread():
            assert is_denoising.wait(20)
        return decode(latents, kept)

    denoise = session.rollout.begin_block

    def watched(*given: object, **named: object) -> object:
        voices.append(1)
        if len(voices) > 2:
            is_denoising.set()
        return denoise(*given, **named)

    monkeypatch.setattr(session.showing, "_decode", late)
    monkeypatch.setattr(session.rollout, "begin_block", watched)
    assert [one.block for one in session.push(VOICE)] == list(range(len(VOICE) // 7680))


def test_the_first_block_waits_for_no_second(overlapped: pipeline.Pipeline) -> None:
    session = opened(overlapped)
    first = next(session.push(VOICE))
    assert first.block == 0
    assert session.rollout.next_block == 1


def test_no_state_is_told_while_a_block_is_ahead_of_its_frames(overlapped: pipeline.Pipeline) -> None:
    session = opened(overlapped)
    going: Iterator[VideoChunk] = session.push(VOICE)
    seen = [next(going).block for _ in range(6)]
    assert seen == list(range(6))
    assert session.is_ahead
    assert session_state(session) is None
    rest = [one.block for one in going]
    assert rest[0] == 6
    assert not session.is_ahead
    state = session_state(session)
    assert state is not None
    assert state["frames_out"] == 12 * (rest[-1] + 1)


def test_a_prompt_in_mid_stream_is_heard_by_all_steps_alike(plain: pipeline.Pipeline, overlapped: pipeline.Pipeline) -> None:
    frames = []
    for loaded in (plain, overlapped):
        session = opened(loaded)
        session.set_prompt("a singer", 1.5)
        frames.append(np.concatenate([one.frames for one in chunks(session, [len(VOICE)])]))
    same = np.concatenate([one.frames for one in chunks(opened(plain), [len(VOICE)])])
    assert np.array_equal(frames[0], frames[1])
    assert not np.array_equal(frames[0], same)


def test_a_stream_goes_on_from_its_state(overlapped: pipeline.Pipeline) -> None:
    session, half = opened(overlapped), 4 * RATE
    list(session.push(VOICE[:half]))
    state = session_state(session)
    assert state is not None
    state = copy.deepcopy(state)
    rest = [one.frames for one in (*session.push(VOICE[half:]), *session.flush())]
    again = opened(overlapped)
    restore_session(again, state)
    assert np.array_equal(
        np.concatenate([one.frames for one in (*again.push(VOICE[half:]), *again.flush())]), np.concatenate(rest)
    )


def test_a_state_of_another_division_of_steps_is_refused(plain: pipeline.Pipeline, overlapped: pipeline.Pipeline) -> None:
    session, other = opened(plain), opened(overlapped)
    list(session.push(VOICE))
    state = session_state(session)
    assert state is not None
    if len(other.rollouts) == 1:
        restore_session(other, state)
        assert other.rollout.next_block == session.rollout.next_block
    else:
        with pytest.raises(ValueError, match="the state is of 1 rollouts, this stream has 2"):
            restore_session(other, state)


def test_clean_caches_keep_all_steps_in_one_place() -> None:
    options = RolloutOptions()
    assert [steps_to_hand_on(options, wanted) for wanted in (0, 1, 9)] == [0, 1, options.steps - 1]
    assert steps_to_hand_on(replace(options, cache="clean"), 1) == 0


def test_an_error_while_decoding_reaches_the_caller(
    overlapped: pipeline.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(overlapped)

    def broken(*_: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("the card has gone")

    decode = session.showing._decode
    monkeypatch.setattr(session.showing, "_decode", lambda *given: broken(*given) or decode(*given))
    with pytest.raises(RuntimeError, match="the card has gone"):
        list(session.push(VOICE))


def test_threads_are_shared_only_where_there_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liveavatar.threads._shares", 1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert not share_threads("meta")
        assert torch.get_num_threads() == 2
        assert share_threads("cpu")
        assert torch.get_num_threads() == 1
        assert threads_of_process() == 2
        assert not share_threads("cpu")
    finally:
        torch.set_num_threads(before)


# ------------------------------------------------------------------------------------------------------------ work beside


def test_work_beside_gives_what_map_gives_in_order_and_in_one_thread() -> None:
    names: list[str] = []

    def work(item: int) -> int:
        names.append(threading.current_thread().name)
        return item * item

    with ThreadPoolExecutor(2, "beside") as thread:
        assert list(map_beside(work, range(7), thread)) == list(map(work, range(7)))
        assert all(name.startswith("beside") for name in names[:7])
        assert list(map_beside(work, range(0), thread)) == []
    names.clear()
    assert list(map_beside(work, range(3), None)) == [0, 1, 4]
    assert set(names) == {threading.current_thread().name}


def test_an_item_is_worked_on_while_the_next_is_made() -> None:
    worked, made = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        assert worked.wait(10)  # the second item is made only after work on the first has begun
        made.set()
        yield 1

    def work(item: int) -> int:
        worked.set()
        assert made.wait(10)  # and that work ends only after the second item is made
        return item

    with ThreadPoolExecutor(1) as thread:
        assert list(map_beside(work, items(), thread)) == [0, 1]


def test_what_the_work_raises_comes_out_and_what_was_begun_is_finished() -> None:
    done: list[int] = []

    def work(item: int) -> int:
        if item == 2:
            raise ValueError("item 2")
        time.sleep(0.01)
        done.append(item)
        return item

    with ThreadPoolExecutor(1) as thread:
        with pytest.raises(ValueError, match="item 2"):
            list(map_beside(work, range(9), thread))
        begun = map_beside(work, (10, 11, 12), thread)
        next(begun)
        begun.close()  # type: ignore[attr-defined]
        assert done == [0, 1, 3, 10, 11]


def test_the_first_block_has_all_threads_and_the_others_their_share(
    overlapped: pipeline.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liveavatar.threads._shares", 2)
    session, before, found = opened(overlapped), torch.get_num_threads(), {}
    take = session.showing.take

    def noted(latent: LatentBlock, frames: int) -> Iterator[VideoChunk]:
        found[latent.block] = torch.get_num_threads()
        return take(latent, frames)

    monkeypatch.setattr(session.showing, "take", noted)
    list(session.push(VOICE))
    assert found[0] == 2 * before
    assert {found[number] for number in found if number > 0} == {before}
    assert torch.get_num_threads() == before
