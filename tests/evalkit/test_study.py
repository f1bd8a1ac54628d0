"""The user study: blind design, scores that reproduce a hand-computed example, careless raters named with the reason."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from evalkit.errors import EvalkitError
from evalkit.study import CRITERIA
from evalkit.study.agreement import correlation, krippendorff_alpha
from evalkit.study.answers import read_answers
from evalkit.study.design import INSTRUCTED, RATE, REPEAT, Study, design_study
from evalkit.study.page import page_data, render_page
from evalkit.study.scoring import markdown, score_study
from evalkit.study.screening import careless
from tests.evalkit.evalkit_bench import evalkit

METHODS = ("live_avatar", "wan_s2v", "paradigm:ditto")


def make_study(methods: tuple[str, ...] = METHODS, samples: int = 4) -> Study:
    clips = [(method, f"s{index}", 5.0) for index in range(samples) for method in methods]
    return design_study(clips, seed=0, salt="salt")


class Sheet:
    """Answers as the page writes them."""

    def __init__(self, study: Study, rater: str, folder: Path) -> None:
        self.study, self.rater, self.path = study, rater, folder / f"{rater}.json"
        self.answers: list[dict[str, Any]] = []

    def rate(self, trial_id: str, values: dict[str, tuple[int, int, int]], seconds: float = 20.0) -> None:
        """values: by clip id, three ratings."""
        trial = next(one for one in self.study.trials if one.id == trial_id)
        sides = dict(zip(("left", "right"), trial.clips, strict=True))
        ratings = {side: dict(zip(CRITERIA, values[clip], strict=True)) for side, clip in sides.items()}
        self.answers.append(
            {"trial": trial_id, **sides, "ratings": ratings, "seconds": seconds, "plays": {"left": 1, "right": 1}}
        )

    def fill(self, value_of: Any, follow: bool = True, seconds: float = 20.0) -> Path:
        """All trials: checks as told, the rest by `value_of(clip)`."""
        for trial in self.study.trials:
            if trial.kind == INSTRUCTED:
                high, low = ((5, 5, 5), (1, 1, 1)) if follow else ((3, 3, 3), (3, 3, 3))
                self.rate(trial.id, {trial.clips[0]: high, trial.clips[1]: low}, seconds)
            else:
                self.rate(trial.id, {clip: value_of(clip) for clip in trial.clips}, seconds)
        return self.save()

    def save(self) -> Path:
        content = {"schema_version": 1, "study": self.study.id, "rater": self.rater, "answers": self.answers}
        self.path.write_text(json.dumps(content))
        return self.path


def of_method(study: Study, values: dict[str, tuple[int, int, int]]) -> Any:
    method = {one.id: one.method for one in study.clips}
    return lambda clip: values[method[clip]]


# -------------------------------------------------------------------------------------------------------------- design


@pytest.mark.parametrize("methods", [METHODS, METHODS[:2], ("a", "b", "c", "d", "e", "f", "g")])
@pytest.mark.parametrize("samples", [2, 3, 5])
def test_every_clip_is_rated_once_and_at_most_one_twice(methods: tuple[str, ...], samples: int) -> None:
    study = make_study(methods, samples)
    shown = Counter(clip for one in study.trials if one.kind == RATE for clip in one.clips)
    assert set(shown) == {one.id for one in study.clips}
    assert sum(count - 1 for count in shown.values()) == (len(methods) * samples) % 2
    assert all(one.clips[0] != one.clips[1] for one in study.trials)


def test_pairs_are_of_one_sample_where_methods_go_even() -> None:
    study = make_study(("a", "b", "c", "d"), 5)
    sample = {one.id: one.sample for one in study.clips}
    assert all(sample[one.clips[0]] == sample[one.clips[1]] for one in study.trials)
    method = {one.id: one.method for one in study.clips}
    together = {frozenset(method[clip] for clip in one.clips) for one in study.trials}
    assert len(together) > 2, "who meets whom changes from sample to sample"


def test_checks_and_repeats_are_there_and_the_key_survives_its_file() -> None:
    study = make_study()
    kinds = Counter(one.kind for one in study.trials)
    assert kinds == {RATE: 6, REPEAT: 1, INSTRUCTED: 2}
    assert Study.from_json(json.loads(json.dumps(study.to_json()))) == study
    with pytest.raises(ValueError, match="at least two methods"):
        design_study([("a", "s", 1.0)], 0)


def test_ids_tell_nothing_and_are_new_in_every_study() -> None:
    clips = [(method, "s0", 5.0) for method in METHODS]
    one, other = design_study(clips, 0), design_study(clips, 0)
    assert not {clip.id for clip in one.clips} & {clip.id for clip in other.clips}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Study, dict[str, Path], dict[str, Path]]:
    study = make_study()
    videos = {one.id: tmp_path / f"{one.id}.mp4" for one in study.clips}
    pictures = {one.sample: tmp_path / f"{one.sample}.png" for one in study.clips}
    for path in [*videos.values(), *pictures.values()]:
        path.write_bytes(b"not read here")
    return study, videos, pictures


def test_the_page_names_no_method_no_sample_and_nothing_outside(files: Any) -> None:
    page = render_page(*files)
    for name in (*METHODS, "Ditto", "s0.png", "s1"):
        assert f'"{name}' not in page
        assert f">{name}<" not in page
    assert not re.search(r"https?://", page)
    assert "default-src 'none'" in page
    assert not re.search(r"\son\w+=", page), "no handlers in attributes: the policy would refuse them"
    data = page_data(*files)
    assert list(data["clips"]) == sorted(data["clips"])
    assert [one["id"] for one in data["trials"]] != [one.id for one in files[0].trials]


# ------------------------------------------------------------------------------------------------------------- scoring


def test_scores_are_those_of_a_hand_computed_example(tmp_path: Path) -> None:
    """Two raters, two methods, one sample each rated once.

    Rater one gives A 5, 4, 3 and B 3, 2, 1; rater two gives A 4, 4, 4 and B 4, 2, 2. On 0 to 100 a point is 25:
    A: naturalness (100 + 75) / 2 = 87.5, synchronisation (75 + 75) / 2 = 75, consistency (50 + 75) / 2 = 62.5;
    B: (50 + 75) / 2 = 62.5, (25 + 25) / 2 = 25, (0 + 25) / 2 = 12.5.
    """
    study = make_study(("live_avatar", "wan_s2v"), 1)
    files = [
        Sheet(study, "r1", tmp_path).fill(of_method(study, {"live_avatar": (5, 4, 3), "wan_s2v": (3, 2, 1)})),
        Sheet(study, "r2", tmp_path).fill(of_method(study, {"live_avatar": (4, 4, 4), "wan_s2v": (4, 2, 2)})),
    ]
    result = score_study(read_answers(files, study), study)
    rows = {row["method"]: row for row in result["table"]}
    assert [rows["live_avatar"][name]["mean"] for name in CRITERIA] == [87.5, 75.0, 62.5]
    assert [rows["wan_s2v"][name]["mean"] for name in CRITERIA] == [62.5, 25.0, 12.5]
    assert (rows["live_avatar"]["naturalness"]["low"], rows["live_avatar"]["naturalness"]["high"]) == (75.0, 100.0)
    assert rows["live_avatar"]["synchronisation"]["low"] == rows["live_avatar"]["synchronisation"]["high"] == 75.0
    assert rows["wan_s2v"]["naturalness"]["paper"] == 84.3
    # Clips A and B, raters (5, 4) and (3, 4): observed (1 + 1 + 1 + 1) / 4 = 1; all pairs of 5, 4, 3, 4: 16 / 12.
    assert result["agreement"]["naturalness"] == pytest.approx(1 - 1 / (16 / 12))
    # 2, 2 and 0, 2 more for B and A: (62.5 - 25), rater by rater 50 and 50.
    (sync,) = [one for one in result["differences"] if one["criterion"] == "synchronisation"]
    assert (sync["mean"], sync["n"], sync["wins"]) == (50.0, 2, 2)
    assert result["repeat_gap"] == 0.0
    text = markdown(result, {"live_avatar": "Live Avatar (ours)"})
    assert "| Live Avatar (ours) | 87.5 [75.0, 100.0] (paper 86.3) |" in text
    assert "User study (2 of 2 raters)" in text


def test_alpha_is_that_of_the_textbook_example() -> None:
    """Three observers, fifteen units, missing values (Krippendorff's own example): 0.811 for interval data."""
    rows = [
        [None, None, None, None, None, 3, 4, 1, 2, 1, 1, 3, 3, None, 3],
        [1, None, 2, 1, 3, 3, 4, 3, None, None, None, None, None, None, None],
        [None, None, 2, 1, 3, 4, 4, None, 2, 1, 1, 3, 3, None, 4],
    ]
    units = [[row[i] for row in rows if row[i] is not None] for i in range(15)]
    assert krippendorff_alpha(units) == pytest.approx(0.811, abs=5e-4)
    assert krippendorff_alpha([[1, 1], [3, 3]]) == 1.0
    assert krippendorff_alpha([[2, 2], [2]]) is None


def test_correlation_of_what_does_not_vary_is_none() -> None:
    assert correlation([1, 2, 3], [2, 4, 6]) == pytest.approx(1)
    assert correlation([1, 1, 1], [2, 4, 6]) is None


VALUES = {"live_avatar": (5, 4, 4), "wan_s2v": (3, 3, 4), "paradigm:ditto": (2, 1, 5)}


def test_careless_raters_are_named_with_the_reason_and_stand_apart(tmp_path: Path) -> None:
    study = make_study()
    careful = of_method(study, VALUES)
    draw = {one.id: index for index, one in enumerate(study.clips)}
    upside_down = of_method(study, {name: tuple(6 - v for v in values) for name, values in VALUES.items()})
    files = [Sheet(study, f"good{i}", tmp_path).fill(careful) for i in range(4)]
    files.append(Sheet(study, "unheeding", tmp_path).fill(careful, follow=False))
    files.append(Sheet(study, "hasty", tmp_path).fill(careful, seconds=1.0))
    files.append(Sheet(study, "flat", tmp_path).fill(lambda clip: (3, 3, 3)))
    files.append(Sheet(study, "contrary", tmp_path).fill(upside_down))
    moody = Sheet(study, "moody", tmp_path)
    for trial in study.trials:
        turned = [5, 5, 5] if (trial.kind == REPEAT) == (draw[trial.clips[0]] % 2 == 0) else [1, 2, 1]
        told = {trial.clips[0]: (5, 5, 5), trial.clips[1]: (1, 1, 1)}
        moody.rate(trial.id, told if trial.kind == INSTRUCTED else {clip: tuple(turned) for clip in trial.clips})
    files.append(moody.save())
    reasons = careless(read_answers(files, study), study)
    assert set(reasons) == {"unheeding", "hasty", "flat", "contrary", "moody"}
    assert reasons["unheeding"] == ["2 of 2 attention checks failed"]
    assert "median time on a pair is 0.10 of its clips' length" in reasons["hasty"]
    assert any("100% of all ratings are equal" in one for one in reasons["flat"])
    assert any("repeated pairs differ" in one for one in reasons["moody"])
    assert any("correlation with the other raters is -" in one for one in reasons["contrary"])
    result = score_study(read_answers(files, study), study)
    assert (result["raters"], len(result["left_out"])) == (9, 5)
    assert result["table"][0]["naturalness"]["raters"] == 4
    assert result["table_of_all"][0]["naturalness"]["raters"] == 9
    assert "With all raters:" in markdown(result, {})


def test_unfinished_answers_count_for_what_they_hold(tmp_path: Path) -> None:
    study = make_study()
    sheet = Sheet(study, "r1", tmp_path)
    first = study.trials[0]
    sheet.rate(first.id, {first.clips[0]: (5, 5, 5), first.clips[1]: (1, 1, 1)})
    result = score_study(read_answers([sheet.save()], study), study)
    means = [row["naturalness"]["mean"] for row in result["table"]]
    assert means.count(None) == len(METHODS) - len({c.method for c in study.clips if c.id in first.clips})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(study="other"), "the key is of"),
        (lambda c: c.pop("answers"), "no file that the page wrote"),
        (lambda c: c["answers"][0]["ratings"]["left"].update(naturalness=9), "outside 1 to 5"),
        (lambda c: c["answers"][0].update(left="someone-elses"), "does not show these two clips"),
    ],
)
def test_files_that_the_page_did_not_write_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    study = make_study()
    path = Sheet(study, "r1", tmp_path).fill(of_method(study, VALUES))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(EvalkitError, match=message):
        read_answers([path], study)


def test_of_two_files_of_one_rater_the_fuller_counts(tmp_path: Path) -> None:
    study = make_study()
    whole = Sheet(study, "r1", tmp_path).fill(of_method(study, VALUES))
    half = tmp_path / "half.json"
    content = json.loads(whole.read_text())
    half.write_text(json.dumps({**content, "answers": content["answers"][:2]}))
    (rater,) = read_answers([whole, half], study)
    assert len(rater.answers) == len(study.trials)


# ---------------------------------------------------------------------------------------------------------- the command


def test_build_and_score_through_the_command_line(finished: Path, tmp_path: Path) -> None:
    built = evalkit("study", "build", str(finished), "--limit", "3", "--out", str(tmp_path / "study"))
    assert built.code == 0, built.err
    assert "6 clips of 2 methods" in built.out, "control rows are left out"
    study = Study.from_json(json.loads((tmp_path / "study/key.json").read_text()))
    assert study.methods == ("fake", "fake_other"), "the run's own method comes first"
    page = (tmp_path / "study/page.html").read_text()
    assert all(one.id in page for one in study.clips)
    answers = tmp_path / "answers"
    answers.mkdir()
    Sheet(study, "r1", answers).fill(of_method(study, {"fake": (5, 4, 3), "fake_other": (1, 1, 1)}))
    scored = evalkit("study", "score", str(answers), "--key", str(tmp_path / "study/key.json"), "--out", str(tmp_path))
    assert scored.code == 0, scored.err
    assert "| fake | 100.0 | 75.0 | 50.0 |" in scored.out
    assert json.loads((tmp_path / "study.json").read_text())["raters"] == 1
    missing = evalkit("study", "score", str(answers), "--key", str(tmp_path / "nothing.json"))
    assert missing.code == 2
    assert "is no key" in missing.err
    wrong = evalkit("study", "build", str(finished), "--methods", "truth")
    assert wrong.code == 2
    assert "made no clips in this run" in wrong.err
