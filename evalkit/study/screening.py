"""Careless raters, by rules that are stated and counted: a table without them stands beside the one of all raters."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.study import CRITERIA, LEAST, MOST
from evalkit.study.agreement import clip_means, correlation
from evalkit.study.answers import Answer, Rater
from evalkit.study.design import INSTRUCTED, REPEAT, Study


@dataclass(frozen=True)
class Rules:
    """From where on a rater counts as careless.

    failed_checks: share of instructed pairs that were not rated as told. least_time: median time spent on a pair, over
    the length of its two clips. flat: share of equal ratings. repeat_gap: mean difference, in scale points, between two
    ratings of one clip. least_correlation: with the means of the others, asked only of `least_raters` and more.
    """

    failed_checks: float = 0.34
    least_time: float = 0.5
    flat: float = 0.95
    repeat_gap: float = 1.5
    least_correlation: float = 0.0
    least_raters: int = 5


def careless(raters: Sequence[Rater], study: Study, rules: Rules | None = None) -> dict[str, list[str]]:
    """Reasons by rater id, only for those who have any."""
    rules = rules or Rules()
    found = {rater.id: [*_own_reasons(rater, study, rules), *_outlier(rater, raters, study, rules)] for rater in raters}
    return {name: reasons for name, reasons in found.items() if reasons}


def _own_reasons(rater: Rater, study: Study, rules: Rules) -> list[str]:
    reasons = []
    checks = rater.of({one.id for one in study.trials if one.kind == INSTRUCTED})
    failed = sum(not followed(one) for one in checks)
    if checks and failed / len(checks) > rules.failed_checks:
        reasons.append(f"{failed} of {len(checks)} attention checks failed")
    rest = rater.of({one.id for one in study.trials if one.kind != INSTRUCTED})
    if not rest:
        return reasons
    seconds = {one.id: one.seconds for one in study.clips}
    times = [one.seconds / max(0.1, seconds[one.left] + seconds[one.right]) for one in rest]
    if statistics.median(times) < rules.least_time:
        reasons.append(f"median time on a pair is {statistics.median(times):.2f} of its clips' length")
    values = [value for one in rest for side in one.ratings.values() for value in side.values()]
    if len(rest) > 1 and max(Counter(values).values()) / len(values) >= rules.flat:
        reasons.append(f"{max(Counter(values).values()) / len(values):.0%} of all ratings are equal")
    gaps = repeat_gaps(rater, study)
    if gaps and statistics.mean(gaps) > rules.repeat_gap:
        reasons.append(f"ratings of repeated pairs differ by {statistics.mean(gaps):.1f} on average")
    return reasons


def followed(answer: Answer) -> bool:
    """Whether an instructed pair was rated as told: left highest, right lowest."""
    wanted = {"left": MOST, "right": LEAST}
    return all(answer.ratings[side][name] == value for side, value in wanted.items() for name in CRITERIA)


def repeat_gaps(rater: Rater, study: Study) -> list[float]:
    """Absolute differences between first and second ratings of the same clips, in scale points."""
    answers = {one.trial: by_clip(one) for one in rater.answers}
    gaps: list[float] = []
    for trial in study.trials:
        if trial.kind == REPEAT and trial.id in answers and trial.of in answers:
            first, second = answers[trial.of], answers[trial.id]
            gaps += [abs(first[clip][name] - second[clip][name]) for clip in trial.clips for name in CRITERIA]
    return gaps


def by_clip(answer: Answer) -> dict[str, dict[str, int]]:
    """Ratings by clip id: on which side it stood no longer matters."""
    return {answer.left: answer.ratings["left"], answer.right: answer.ratings["right"]}


def _outlier(rater: Rater, raters: Sequence[Rater], study: Study, rules: Rules) -> list[str]:
    others = [one for one in raters if one.id != rater.id]
    if len(raters) < rules.least_raters:
        return []
    own, rest = clip_means([rater], study), clip_means(others, study)
    common = sorted(own.keys() & rest.keys())
    found = correlation([own[key] for key in common], [rest[key] for key in common])
    if found is None or found >= rules.least_correlation:
        return []
    return [f"correlation with the other raters is {found:.2f}"]
