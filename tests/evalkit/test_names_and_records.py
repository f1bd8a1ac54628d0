"""Names, fingerprints, records and the store: what is written can be read back, whole, or counts as missing."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.errors import EvalkitError, StoreFullError, UnknownNameError
from evalkit.fingerprint import canonical_json, differing_fields, digest
from evalkit.names import choose, slug, unknown
from evalkit.records import DONE, FAILED, GENERATE, SCORE, Failure, Key, Record
from evalkit.store import Store, read_record, write_text


def test_short_safe_names_are_their_own_slug() -> None:
    assert slug("genbench_short-001.a") == "genbench_short-001.a"
    assert slug("command:mine") == "command:mine"


@pytest.mark.parametrize("name", ["x" * 300, "a/b", "../up", ".hidden", "", "naïve"])
def test_other_names_become_short_safe_and_distinct(name: str) -> None:
    made = slug(name)
    assert len(made) <= 80
    assert "/" not in made
    assert not made.startswith(".")
    assert made != slug(name + "x")


def test_long_keys_fit_into_file_names(tmp_path: Path) -> None:
    key = Key(SCORE, "m" * 300, "d" * 300, "s" * 300, 0, "metric" * 60)
    write_text(tmp_path / key.path, "{}")
    assert (tmp_path / key.path).is_file()


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'live_avatar'"):
        choose("method", ["live_avtar"], ["live_avatar", "truth"], [])
    assert "known: a, b" in str(unknown("thing", "zzzz", ["b", "a"]))


def test_all_means_all_and_nothing_means_the_default() -> None:
    assert choose("seed", ["all"], ["1", "2"], ["1"]) == ("1", "2")
    assert choose("seed", [], ["1", "2"], ["1"]) == ("1",)


def test_fingerprint_ignores_order_and_refuses_nan() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


def test_differing_fields_are_named_with_dots() -> None:
    assert differing_fields({"a": {"b": 1, "c": 2}, "d": 1}, {"a": {"b": 3, "c": 2}}) == ["a.b", "d"]


def make_record(**more: object) -> Record:
    return Record(Key(GENERATE, "fake", "set", "s0"), "f" * 64, DONE, {"seed": 0}, **more)  # type: ignore[arg-type]


def test_record_survives_a_round_trip_with_version_first_and_unknown_fields_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(make_record(outputs={"value": 1.5}, error=Failure("E", "m")))
    path = tmp_path / make_record().key.path
    content = json.loads(path.read_text())
    assert next(iter(content)) == "schema_version"
    path.write_text(json.dumps({**content, "from_the_future": [1, 2]}))
    record = store.read(make_record().key)
    assert record is not None
    assert record.error == Failure("E", "m")
    assert record.outputs["value"] == 1.5
    store.write(replace(record, status=FAILED))
    assert json.loads(path.read_text())["from_the_future"] == [1, 2]


def test_nan_becomes_null_with_a_reason(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(make_record(outputs={"value": float("nan"), "series": {"x": [1.0, float("inf")]}}))
    text = (tmp_path / make_record().key.path).read_text()
    content = json.loads(text)
    assert "NaN" not in text
    assert "Infinity" not in text
    assert content["value"] is None
    assert content["series"]["x"] == [1.0, None]
    assert set(content["null_reasons"]) == {"value", "series.x[1]"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 1}'])
def test_broken_record_counts_as_missing(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    assert read_record(tmp_path / "r.json") is None


def test_artefact_problems_are_seen(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.temporary("artefacts/m/d/s.s0")
    (made / "video.mp4").write_bytes(b"12345")
    (artefact,) = store.publish(made, "artefacts/m/d/s.s0")
    assert not store.problem(artefact)
    assert not made.exists()
    path = tmp_path / artefact.path
    path.write_bytes(b"1234")
    assert "4 bytes instead of 5" in store.problem(artefact)
    path.write_bytes(b"54321")
    os.utime(path, ns=(1, 1))
    assert "another content" in store.problem(artefact)
    path.unlink()
    assert "gone" in store.problem(artefact)


def test_tampering_that_keeps_size_and_time_is_found_by_rehashing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.temporary("artefacts/m/d/s.s0")
    (made / "video.mp4").write_bytes(b"12345")
    (artefact,) = store.publish(made, "artefacts/m/d/s.s0")
    path = tmp_path / artefact.path
    stat = path.stat()
    assert not store.problem(artefact)
    path.write_bytes(b"54321")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.problem(artefact, rehash=True)


def test_publishing_replaces_an_older_artefact_and_leaves_nothing_behind(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for content in (b"old", b"newer"):
        made = store.temporary("artefacts/m/d/s.s0")
        (made / "video.mp4").write_bytes(content)
        store.publish(made, "artefacts/m/d/s.s0")
    assert (tmp_path / "artefacts/m/d/s.s0/video.mp4").read_bytes() == b"newer"
    assert [path.name for path in (tmp_path / "artefacts/m/d").iterdir()] == ["s.s0"]


def test_full_disk_leaves_the_old_content_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "records" / "r.json"
    write_text(path, "old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFullError, match=r"no space left.*run the same command again") as caught:
        write_text(path, "new")
    assert isinstance(caught.value, EvalkitError)
    assert caught.value.exit_code == 2
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_sweep_removes_what_interrupted_writers_left(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (store.temporary("artefacts/m/d/s.s0") / "video.mp4").write_bytes(b"half")
    (tmp_path / ".r.json.tmp-1").write_text("half")
    (tmp_path / "kept.json").write_text("{}")
    store.sweep()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["kept.json"]
