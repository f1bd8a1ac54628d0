"""A folder of official weights on this machine: what is there, whether it is what it should be, and fetching by name.

Layout: FOLDER/ID/FILE, and FOLDER/lock.json with bytes and sha256 of every file that was ever checked here. A file is
used only after its sha256 matched the published one, or, where none is published, the one in the lock; hashes are
remembered by size and modification time. Nothing is fetched but by `fetch`.
"""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.fingerprint import digest, file_sha256
from evalkit.metrics.official_weights import OFFICIAL_WEIGHTS, OfficialWeights, WeightsFile, official_weights
from evalkit.metrics.weights import WeightsError

LOCK = "lock.json"
PRESENT, MISSING, WRONG, UNPINNED = "present", "missing", "wrong", "not pinned yet"
CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60.0
HUB_PATTERNS = ("*.json", "*.safetensors", "*.bin", "*.model")
Progress = Callable[[str, int, int | None], None]
"""Called with (file, bytes so far, bytes in all)."""


@dataclass(frozen=True)
class FileState:
    """One file of an entry as it is here; `detail` says what is wrong."""

    name: str
    state: str
    detail: str = ""


class WeightsFolder:
    """The folder at `root`; it need not exist."""

    def __init__(self, root: Path | str):
        self.root = Path(root)

    def place(self, weights: str) -> Path:
        """FOLDER/ID."""
        return self.root / official_weights(weights).id

    def has(self, weights: str) -> bool:
        """Whether every file that is needed lies there with its size; nothing is hashed."""
        entry = official_weights(weights)
        names = [file for file in entry.files if not file.is_optional]
        if entry.hub_id:
            return (self.place(weights) / "config.json").is_file()
        return bool(names) and all(self._has_file(entry, file) for file in names)

    def states(self, weights: str, rehash: bool = False) -> list[FileState]:
        """Every file of an entry against what it must be; with `rehash`, remembered hashes are not believed."""
        entry = official_weights(weights)
        if entry.hub_id and not self.has(weights):
            return [FileState(entry.hub_id, MISSING)]
        return [self._state(entry, file, rehash) for file in self._files(entry)]

    def file(self, weights: str, name: str) -> Path:
        """A checked file, pinned now if its digest was not known. Raises WeightsError when absent or altered."""
        entry = official_weights(weights)
        wanted = next(file for file in self._files(entry) if file.name == name)
        path = self.place(weights) / name
        state = self._state(entry, wanted, rehash=False)
        if state.state == MISSING:
            raise WeightsError(f"{path} is missing; get it: python -m evalkit weights get {weights}")
        if state.state == WRONG:
            raise WeightsError(f"{path}: {state.detail}: refused. Get it again: python -m evalkit weights get {weights}")
        if state.state == UNPINNED:
            self._pin(entry, wanted)
        return path

    def folder(self, weights: str) -> Path:
        """FOLDER/ID after all its files were checked."""
        for file in self._files(official_weights(weights)):
            if not file.is_optional or (self.place(weights) / file.name).is_file():
                self.file(weights, file.name)
        return self.place(weights)

    def digest(self, weights: str) -> str:
        """One sha256 for an entry: its single file's own, else over names and digests of all."""
        entry = official_weights(weights)
        files = [file for file in self._files(entry) if not file.is_optional]
        known = {file.name: self._sha256(entry, file) for file in files}
        return next(iter(known.values())) if len(known) == 1 else digest(known)

    def verify(self, weights: str) -> list[FileState]:
        """Hash everything again and pin what had no digest."""
        entry = official_weights(weights)
        states = self.states(weights, rehash=True)
        for file in self._files(entry):
            if any(state.name == file.name and state.state == UNPINNED for state in states):
                self._pin(entry, file)
        return states

    def fetch(self, weights: str, progress: Progress | None = None) -> Path:
        """Download what is missing, check it, pin it. Raises WeightsError where no address gave the right bytes."""
        entry = official_weights(weights)
        if entry.hub_id:
            self._fetch_hub(entry)
        for file in entry.files:
            if self._state(entry, file, rehash=False).state not in (PRESENT, UNPINNED):
                self._fetch_file(entry, file, progress or (lambda *_: None))
        self.verify(weights)
        return self.place(weights)

    def _files(self, entry: OfficialWeights) -> list[WeightsFile]:
        """The entry's files; of a hub repository, those that are here."""
        if not entry.hub_id:
            return list(entry.files)
        here = sorted(path for pattern in HUB_PATTERNS for path in self.place(entry.id).glob(pattern))
        return [WeightsFile(path.name, ()) for path in here]

    def _has_file(self, entry: OfficialWeights, file: WeightsFile) -> bool:
        path = self.place(entry.id) / file.name
        return path.is_file() and file.bytes in (None, path.stat().st_size)

    def _state(self, entry: OfficialWeights, file: WeightsFile, rehash: bool) -> FileState:
        path = self.place(entry.id) / file.name
        if not path.is_file():
            return FileState(file.name, MISSING)
        if not self._has_file(entry, file):
            return FileState(file.name, WRONG, f"{path.stat().st_size:,} bytes instead of {file.bytes:,}")
        wanted = file.sha256 or self._locked(entry, file).get("sha256")
        if wanted is None:
            return FileState(file.name, UNPINNED)
        found = file_sha256(path) if rehash else self._sha256(entry, file)
        if found != wanted:
            return FileState(file.name, WRONG, f"sha256 {found[:12]}... instead of {wanted[:12]}...")
        return FileState(file.name, PRESENT)

    def _sha256(self, entry: OfficialWeights, file: WeightsFile) -> str:
        """Of the file as it is now, remembered by size and time."""
        path = self.place(entry.id) / file.name
        stat = path.stat()
        mark, held = [stat.st_size, stat.st_mtime_ns], self._locked(entry, file)
        if held.get("seen") == mark and held.get("found"):
            return str(held["found"])
        found = file_sha256(path)
        self._remember(entry, file, {"seen": mark, "found": found})
        return found

    def _pin(self, entry: OfficialWeights, file: WeightsFile) -> None:
        path = self.place(entry.id) / file.name
        facts = {"sha256": self._sha256(entry, file), "bytes": path.stat().st_size, "licence": entry.licence}
        self._remember(entry, file, {**facts, "source": (file.addresses or (entry.source,))[0]})

    def _locked(self, entry: OfficialWeights, file: WeightsFile) -> dict[str, Any]:
        held = self._lock().get(entry.id, {}).get(file.name)
        return held if isinstance(held, dict) else {}

    def _lock(self) -> dict[str, Any]:
        try:
            content = json.loads((self.root / LOCK).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _remember(self, entry: OfficialWeights, file: WeightsFile, facts: dict[str, Any]) -> None:
        """Add facts to the lock; where the folder cannot be written, hashes are simply taken again."""
        content = self._lock()
        held = content.setdefault(entry.id, {}).setdefault(file.name, {})
        held.update(facts)
        partial = self.root / f".{LOCK}.{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            partial.replace(self.root / LOCK)
        except OSError:
            partial.unlink(missing_ok=True)

    def _fetch_file(self, entry: OfficialWeights, file: WeightsFile, progress: Progress) -> None:
        path = self.place(entry.id) / file.name
        if not file.addresses:
            raise WeightsError(f"no address of {file.name} is known; put it at {path} yourself ({entry.source})")
        path.parent.mkdir(parents=True, exist_ok=True)
        problems = []
        for address in file.addresses:
            problem = self._download(address, path, file, progress)
            if not problem:
                return
            problems.append(f"{address}: {problem}")
        if file.is_optional:
            return
        raise WeightsError(f"{entry.id}/{file.name} could not be fetched: {'; '.join(problems)}")

    def _download(self, address: str, path: Path, file: WeightsFile, progress: Progress) -> str:
        """One address into `path`, through a partial file that a later attempt continues; gives the problem."""
        partial = path.with_name(path.name + ".partial")
        done = partial.stat().st_size if partial.is_file() else 0
        request = urllib.request.Request(address, headers={"Range": f"bytes={done}-"} if done else {})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                is_continued = answer.status == 206
                done = done if is_continued else 0
                length = answer.headers.get("Content-Length")
                whole = done + int(length) if length else file.bytes
                with partial.open("ab" if is_continued else "wb") as out:
                    while piece := answer.read(CHUNK_BYTES):
                        out.write(piece)
                        done += len(piece)
                        progress(file.name, done, whole)
        except (urllib.error.URLError, OSError, ValueError) as error:
            return f"{error}"
        found = hashlib.sha256()
        with partial.open("rb") as content:
            while piece := content.read(CHUNK_BYTES):
                found.update(piece)
        if whole is not None and done != whole:
            return f"ended after {done:,} of {whole:,} bytes; the same command continues"
        if file.sha256 is not None and found.hexdigest() != file.sha256:
            partial.unlink()
            return f"gave sha256 {found.hexdigest()[:12]}... instead of {file.sha256[:12]}..."
        partial.replace(path)
        return ""

    def _fetch_hub(self, entry: OfficialWeights) -> None:
        try:
            from huggingface_hub import snapshot_download
        except ImportError as error:
            raise WeightsError(f"{entry.id} is a hub repository; install: pip install huggingface_hub") from error
        try:
            snapshot_download(entry.hub_id, local_dir=self.place(entry.id), allow_patterns=list(HUB_PATTERNS))
        except Exception as error:  # the client has many kinds; all of them mean that nothing came
            raise WeightsError(f"{entry.hub_id} could not be fetched: {type(error).__name__}: {error}") from error


def all_ids() -> list[str]:
    """Every entry's id."""
    return list(OFFICIAL_WEIGHTS)
