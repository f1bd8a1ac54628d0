"""Official weights on disk: listing, fetching from an address, continuing, pinning, and refusing what was altered."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from evalkit.metrics import official_weights
from evalkit.metrics.official_weights import OFFICIAL_WEIGHTS, OfficialWeights, WeightsFile
from evalkit.metrics.weights import WeightsError
from evalkit.metrics.weights_folder import MISSING, PRESENT, UNPINNED, WRONG, WeightsFolder
from evalkit.weights_command import run_weights

CONTENT = bytes(range(256)) * 4000  # a megabyte
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT at /good, with ranges; half of it at /short; something else at /wrong."""

    ranges: list[str]

    def do_GET(self) -> None:
        if self.path == "/missing":
            self.send_error(404)
            return
        body = CONTENT if self.path != "/wrong" else CONTENT[::-1]
        start = int(self.headers.get("Range", "bytes=0-").split("=")[1].rstrip("-"))
        Server.ranges.append(self.headers.get("Range", ""))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : len(body) // 2 if self.path == "/short" else None])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Server.ranges = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def entry(monkeypatch: pytest.MonkeyPatch, *addresses: str, sha256: str | None = SHA256) -> None:
    file = WeightsFile("net.pth", addresses, len(CONTENT), sha256)
    one = OfficialWeights("tiny", "A tiny network", "CC0", ("sync_c",), "nowhere", (file,))
    monkeypatch.setitem(official_weights.OFFICIAL_WEIGHTS, "tiny", one)


def test_fetching_checks_the_digest_and_tries_the_next_address(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry(monkeypatch, f"{address}/missing", f"{address}/wrong", f"{address}/good")
    folder = WeightsFolder(tmp_path / "weights")
    assert not folder.has("tiny")
    seen: list[tuple[str, int, int | None]] = []
    folder.fetch("tiny", lambda *what: seen.append(what))
    assert (tmp_path / "weights" / "tiny" / "net.pth").read_bytes() == CONTENT
    assert seen[-1] == ("net.pth", len(CONTENT), len(CONTENT))
    assert folder.has("tiny")
    assert folder.digest("tiny") == SHA256
    assert [one.state for one in folder.states("tiny")] == [PRESENT]


def test_a_broken_download_is_continued_where_it_ended(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry(monkeypatch, f"{address}/short")
    folder = WeightsFolder(tmp_path)
    with pytest.raises(WeightsError, match=r"could not be fetched"):
        folder.fetch("tiny")
    assert not folder.has("tiny")
    entry(monkeypatch, f"{address}/good")
    folder.fetch("tiny")
    assert Server.ranges[-1] == f"bytes={len(CONTENT) // 2}-"
    assert (tmp_path / "tiny" / "net.pth").read_bytes() == CONTENT


def test_wrong_bytes_everywhere_leave_nothing_behind(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry(monkeypatch, f"{address}/wrong")
    with pytest.raises(WeightsError, match=r"gave sha256 .* instead of"):
        WeightsFolder(tmp_path).fetch("tiny")
    assert not list((tmp_path / "tiny").iterdir())


def test_a_file_without_a_published_digest_is_pinned_on_first_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry(monkeypatch, sha256=None)
    path = tmp_path / "tiny" / "net.pth"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    folder = WeightsFolder(tmp_path)
    assert [one.state for one in folder.states("tiny")] == [UNPINNED]
    assert folder.file("tiny", "net.pth") == path
    lock = json.loads((tmp_path / "lock.json").read_text())["tiny"]["net.pth"]
    assert (lock["sha256"], lock["licence"]) == (SHA256, "CC0")
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(WeightsError, match="refused"):
        folder.file("tiny", "net.pth")
    assert [one.state for one in folder.states("tiny")] == [WRONG]


def test_hashes_are_remembered_but_a_rehash_believes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry(monkeypatch)
    path = tmp_path / "tiny" / "net.pth"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    folder = WeightsFolder(tmp_path)
    folder.file("tiny", "net.pth")
    monkeypatch.setattr("evalkit.metrics.weights_folder.file_sha256", lambda _: pytest.fail("hashed again"))
    folder.file("tiny", "net.pth")
    monkeypatch.undo()
    entry(monkeypatch)
    lock = tmp_path / "lock.json"
    content = json.loads(lock.read_text())
    content["tiny"]["net.pth"]["found"] = "0" * 64
    lock.write_text(json.dumps(content))
    assert folder.states("tiny")[0].state == WRONG
    assert folder.states("tiny", rehash=True)[0].state == PRESENT


def test_a_file_of_another_size_needs_no_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry(monkeypatch)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "net.pth").write_bytes(CONTENT[:100])
    state = WeightsFolder(tmp_path).states("tiny")[0]
    assert (state.state, state.detail) == (WRONG, "100 bytes instead of 1,024,000")


def test_the_command_lists_gets_and_verifies(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry(monkeypatch, f"{address}/good")
    rows, lines, good = run_weights("list", [], str(tmp_path))
    assert good
    assert {row["id"] for row in rows} == set(OFFICIAL_WEIGHTS)
    assert all(row["state"] == "absent" for row in rows)
    assert any("16.4 GB" in line for line in lines)
    run_weights("get", ["tiny"], str(tmp_path))
    rows, _, good = run_weights("verify", ["tiny"], str(tmp_path))
    assert (rows[0]["state"], good) == ("present", True)
    (tmp_path / "tiny" / "net.pth").write_bytes(CONTENT[::-1])
    rows, lines, good = run_weights("verify", ["tiny"], str(tmp_path))
    assert (rows[0]["state"], good) == ("wrong", False)
    assert lines[-1].endswith("evalkit weights get tiny")


def test_every_published_digest_and_size_is_well_formed() -> None:
    for one in OFFICIAL_WEIGHTS.values():
        assert one.licence
        assert one.size_bytes or one.id == "i3d_port"
        for file in one.files:
            assert file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32
            assert all(address.startswith("https://") for address in file.addresses)
    states = WeightsFolder("/nonexistent").states("syncnet")
    assert {one.state for one in states} == {MISSING}
