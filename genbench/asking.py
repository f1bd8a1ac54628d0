"""Paid requests: asked in a process of their own that outlives a killed build, so that no answer is paid for twice.

    FOLDER/plan.json             provider, options, how many at a time, which requests; no credentials
    FOLDER/requests/KEY.json     what is to be asked
    FOLDER/begun/KEY             a request that was sent
    FOLDER/answers/KEY.json      its answer, whole, the moment it came
    FOLDER/stopped.json          why the asking ended before its time

The asking process ends its requests in flight when the build that started it is gone, then goes too; the next build waits
for that, and asks only what has no answer. Only the death of the asking process itself (a machine switched off) leaves a
request begun and unanswered; it is asked again and counted as in doubt.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genbench.atomic import remove_leftovers, write_bytes, write_json
from genbench.errors import ProviderError, SampleRefusedError
from genbench.locks import exclusive
from genbench.providers import make_text

_POLL_S = 0.02
OK, REFUSED = "ok", "refused"


@dataclass(frozen=True)
class Answer:
    """What came back for a request: status "ok" with the raw answer, or "refused" with a reason and the answer if there is
    one.
    """

    status: str
    request: dict[str, Any]
    answer: dict[str, Any] | None
    reason: str = ""

    def to_bytes(self) -> bytes:
        """The file that is kept beside the sample."""
        return (json.dumps(vars(self), indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def read_answer(path: Path, request: Mapping[str, Any] | None = None) -> Answer | None:
    """The answer in a file, if it is whole and, where a request is given, answers that one."""
    try:
        found = Answer(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return found if request is None or found.request == request else None


def ask_all(
    folder: Path,
    provider: str,
    options: Mapping[str, Any],
    requests: Mapping[str, dict[str, Any]],
    at_once: int = 4,
    on_answer: Callable[[], None] = lambda: None,
) -> dict[str, Answer]:
    """The answer to every request, by key; what was answered before is not asked again. Raises ProviderError where it
    stopped.
    """
    if not requests:
        return {}
    plan = {"provider": provider, "options": dict(options), "at_once": at_once, "keys": list(requests)}
    write_json(folder / "plan.json", plan)
    for key, request in requests.items():
        write_json(folder / "requests" / f"{key}.json", request)
    (folder / "stopped.json").unlink(missing_ok=True)
    found: dict[str, Answer] = {}
    with _asking_process(folder, is_needed=bool(_unanswered(folder, requests))) as process:
        while True:
            # Looked at before the answers are: an answer may come between the two.
            is_over = process is None or process.poll() is not None
            for key in [key for key in requests if key not in found]:
                answer = read_answer(folder / "answers" / f"{key}.json", requests[key])
                if answer is not None:
                    found[key] = answer
                    on_answer()
            if len(found) == len(requests):
                return found
            if is_over:
                raise ProviderError(_why_stopped(folder))
            time.sleep(_POLL_S)


def in_doubt(folder: Path) -> int:
    """How many requests were sent again because nobody knows whether they were answered."""
    try:
        return len((folder / "doubts").read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return 0


def main(folder: Path) -> None:
    """The asking process: every request of the folder without an answer, until all are done or the build is gone."""
    alone = threading.Event()
    threading.Thread(target=_wait_for_end, args=(alone,), daemon=True).start()
    with exclusive(folder / "lock", wait=True):
        plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        # Only what this build wants: requests of an earlier plan may still lie there.
        files = {key: folder / "requests" / f"{key}.json" for key in plan["keys"]}
        requests = {key: json.loads(file.read_text(encoding="utf-8")) for key, file in files.items()}
        waiting = _unanswered(folder, requests)
        answered = {path.stem for path in (folder / "answers").glob("*.json")}
        doubted = [key for key in waiting if (folder / "begun" / key).exists() and key not in answered]
        if doubted:
            with open(folder / "doubts", "a", encoding="utf-8") as file:
                file.writelines(f"{key}\n" for key in doubted)
        _ask_waiting(folder, plan, {key: requests[key] for key in waiting}, alone)


def _ask_waiting(folder: Path, plan: dict[str, Any], requests: dict[str, dict[str, Any]], alone: threading.Event) -> None:
    stopped = threading.Event()
    try:
        provider = make_text(plan["provider"], plan["options"])
    except Exception as error:
        write_json(folder / "stopped.json", {"reason": f"{error}"})
        return

    def ask(key: str) -> None:
        if alone.is_set() or stopped.is_set():
            return
        write_bytes(folder / "begun" / key, b"")
        try:
            answer = Answer(OK, requests[key], provider.ask(requests[key]))
        except SampleRefusedError as error:
            answer = Answer(REFUSED, requests[key], getattr(error, "answer", None), str(error))
        except Exception as error:
            # Whatever it is, the next request would meet it too; the build says what happened and can be repeated.
            stopped.set()
            text = str(error) if isinstance(error, ProviderError) else f"{type(error).__name__}: {error}"
            write_json(folder / "stopped.json", {"reason": text})
            (folder / "begun" / key).unlink(missing_ok=True)
            return
        write_bytes(folder / "answers" / f"{key}.json", answer.to_bytes())

    with ThreadPoolExecutor(max(1, plan["at_once"])) as pool:
        list(pool.map(ask, requests))
    provider.close()


@contextlib.contextmanager
def _asking_process(folder: Path, is_needed: bool) -> Iterator[subprocess.Popen[bytes] | None]:
    if not is_needed:
        yield None
        return
    for name in ("requests", "begun", "answers"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder / name, older_than_s=0 if name == "requests" else 3600)
    root = str(Path(__file__).resolve().parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))}
    with open(folder / "asking.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "genbench.asking", str(folder)],
            stdin=subprocess.PIPE,  # it reads the end of this pipe as the end of the build
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # neither Ctrl-C nor a kill of the build's group reaches it
        )
    try:
        yield process
    finally:
        if process.stdin:
            process.stdin.close()


def _unanswered(folder: Path, requests: Mapping[str, dict[str, Any]]) -> list[str]:
    return [key for key in requests if read_answer(folder / "answers" / f"{key}.json", requests[key]) is None]


def _why_stopped(folder: Path) -> str:
    try:
        return str(json.loads((folder / "stopped.json").read_text(encoding="utf-8"))["reason"])
    except (FileNotFoundError, ValueError, KeyError):
        return f"the asking process ended without a word; see {folder / 'asking.log'}, then repeat the command"


def _wait_for_end(alone: threading.Event) -> None:
    sys.stdin.buffer.read()
    alone.set()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
