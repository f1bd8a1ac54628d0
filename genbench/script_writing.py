"""Words for the samples of a build: asked for where the text provider is a service, kept, and never paid for twice."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from genbench.asking import OK, Answer, ask_all, in_doubt, read_answer
from genbench.errors import SampleRefusedError
from genbench.making import NOTES, Job
from genbench.production import Production
from genbench.providers.base import TextProvider, Usage
from genbench.spec import SampleSpec

logger = logging.getLogger(__name__)
ASKS = "asks"


class ScriptWriting:
    """Turns specs into jobs by asking the text provider for what it has not answered before."""

    def __init__(self, folder: Path, production: Production) -> None:
        self._folder, self._production = folder, production
        self._answers: dict[str, Answer] = {}
        self._provider: TextProvider | None = None

    def jobs(self, wanted: Sequence[tuple[SampleSpec | None, tuple[str, ...]]]) -> list[Job]:
        """A job per spec, in order; a refused answer makes a job that says so."""
        provider = self._provider = self._provider or self._production.text_provider()
        specs = [(spec, failed) for spec, failed in wanted if spec is not None]
        requests = {_key(spec): request for spec, _ in specs if (request := provider.request(spec)) is not None}
        if not requests:
            return [Job(provider.apply(spec, None), {}, failed) for spec, failed in specs]
        self._recall(spec.id for spec, _ in specs)
        known = {key: answer for key, answer in self._answers.items() if key in requests and answer.request == requests[key]}
        asks, options = self._folder / NOTES / ASKS, self._production.options.get("text", {})
        unknown = {key: request for key, request in requests.items() if key not in known}
        self._answers |= known | ask_all(asks, self._production.text, options, unknown, self._production.at_once)
        if count := in_doubt(asks):
            logger.warning("%d requests were sent twice: the machine stopped before their answers came", count)
        return [self._job(provider, spec, failed) for spec, failed in specs]

    def usage(self) -> dict[str, Any]:
        """What all answers together have cost, empty where nothing was paid."""
        if self._provider is None or not self._answers:
            return {}
        answers = [answer.answer for answer in self._answers.values() if answer.answer is not None]
        return priced(sum((self._provider.usage(answer) for answer in answers), Usage()), self._provider)

    def _job(self, provider: TextProvider, spec: SampleSpec, failed: tuple[str, ...]) -> Job:
        kept = {
            f"text.{key.rpartition('.')[2]}.json": one.to_bytes() for key, one in self._answers.items() if _is_of(key, spec)
        }
        answer = self._answers[_key(spec)]
        if answer.status != OK:
            return Job(spec, kept, failed, answer.reason)
        try:
            return Job(provider.apply(spec, answer.answer), kept, failed)
        except SampleRefusedError as error:
            return Job(spec, kept, failed, str(error))

    def _recall(self, ids: Iterable[str]) -> None:
        """Answers of every attempt that lie beside finished samples or in the asking folder."""
        for name in ids:
            homes = (self._folder / part / name / "raw" for part in ("samples", "left_out"))
            beside = sorted(path for home in homes for path in home.glob("text.*.json"))
            asked = sorted((self._folder / NOTES / ASKS / "answers").glob(f"{name}.*.json"))
            for path in (*beside, *asked):
                answer = read_answer(path)
                if answer is not None:
                    self._answers.setdefault(f"{name}.{path.stem.rpartition('.')[2]}", answer)


def text_estimate(samples: Sequence[SampleSpec], production: Production) -> dict[str, Any]:
    """What the words of a set will cost, one attempt each; empty where nothing is paid."""
    provider = production.text_provider()
    requests = [request for spec in samples if (request := provider.request(spec)) is not None]
    return priced(sum((provider.estimate(request) for request in requests), Usage()), provider) if requests else {}


def priced(usage: Usage, provider: TextProvider) -> dict[str, Any]:
    """Usage as a record, with its cost where the user gave prices (per million tokens)."""
    record: dict[str, Any] = dict(vars(usage))
    price_in, price_out = (getattr(provider, name, None) for name in ("price_in", "price_out"))
    if price_in is not None and price_out is not None:
        record["cost"] = round((usage.input_tokens * price_in + usage.output_tokens * price_out) / 1e6, 4)
    return record


def _key(spec: SampleSpec) -> str:
    return f"{spec.id}.{spec.attempt}"


def _is_of(key: str, spec: SampleSpec) -> bool:
    name, _, attempt = key.rpartition(".")
    return name == spec.id and int(attempt) <= spec.attempt
