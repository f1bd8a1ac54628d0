"""A local server that speaks the REST form of Gemini's generateContent, with its failures on demand.

Form: POST /{v1|v1beta}/models/MODEL:generateContent with header x-goog-api-key; the two clients write some names of the
body in camelCase and some in snake_case, so both are read. Errors are {"error": {code, message, status, details}}, as the
service's documentation and clients have them; a 429 carries RetryInfo and QuotaFailure details.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "gemini-2.5-pro"
Reply = Callable[[dict[str, Any], str], tuple[int, Any]]
"""(body of the request, good text) -> (status, JSON to send, or bytes to send as they are)."""


@dataclass
class GeminiServer:
    """What was asked, and how the next requests are answered before the good answers begin again."""

    url: str = ""
    delay_s: float = 0.0
    next_replies: list[Reply] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def gemini_server(delay_s: float = 0.0) -> Iterator[GeminiServer]:
    """The server on a free port of this machine, for as long as the block lasts."""
    state = GeminiServer(delay_s=delay_s)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = body["contents"][0]["parts"][0]["text"]
            sample = re.search(r"Sample (\S+), attempt (\d+)", prompt)
            with state.lock:
                state.bodies.append(body)
                state.keys.append(self.headers["x-goog-api-key"] or "")
                reply = state.next_replies.pop(0) if state.next_replies else good
            time.sleep(state.delay_s)
            status, answer = reply(body, words_for(prompt))
            if status == 200 and sample:
                # Counted as paid the moment that the service answers, whether or not anyone still listens.
                with state.lock:
                    state.asked[".".join(sample.groups())] += 1
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            length = len(data) + (1000 if reply is broken_off else 0)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(data)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def words_for(prompt: str) -> str:
    """The JSON text of a good answer: the same for the same prompt."""
    wanted = int(re.search(r"script: (\d+) words", prompt)[1])  # type: ignore[index]
    name = re.search(r"Sample (\S+),", prompt)[1]  # type: ignore[index]
    sentence = "The weather in the valley is calm and bright this morning"
    script = " ".join(f"{sentence}." for _ in range(-(-wanted // len(sentence.split()))))
    record = {
        "scene": f"by the river, {name}",
        "picture_prompt": f"one person by a river, {name}",
        "talking_prompt": "A person by a river is talking.",
        "script": script,
    }
    return json.dumps(record)


def envelope(text: str | None, finish: str | None = "STOP", model: str = MODEL) -> dict[str, Any]:
    """An answer around a text; None leaves its parts out."""
    content = {"role": "model", "parts": [{"text": text}]} if text is not None else {"role": "model"}
    candidate: dict[str, Any] = {"content": content, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 40, "thoughtsTokenCount": 10, "totalTokenCount": 150}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": "r1"}


def good(body: dict[str, Any], text: str) -> tuple[int, Any]:
    return 200, envelope(text)


def refused(body: dict[str, Any], text: str) -> tuple[int, Any]:
    return 200, {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": MODEL, "usageMetadata": {}}


def unsafe(body: dict[str, Any], text: str) -> tuple[int, Any]:
    return 200, envelope(None, "SAFETY")


def cut_off(body: dict[str, Any], text: str) -> tuple[int, Any]:
    return 200, envelope(text[: len(text) // 2], "MAX_TOKENS")


def empty(body: dict[str, Any], text: str) -> tuple[int, Any]:
    return 200, envelope(None, "STOP")


def other_model(body: dict[str, Any], text: str) -> tuple[int, Any]:
    return 200, envelope(text, model="gemini-3.8-flash")


def broken_off(body: dict[str, Any], text: str) -> tuple[int, Any]:
    """Promises a thousand bytes more than it sends."""
    return 200, json.dumps(envelope(text)).encode()[:200]


def no_json(body: dict[str, Any], text: str) -> tuple[int, Any]:
    return 200, b"<html>moved</html>"


def failing(status: int, name: str = "INTERNAL") -> Reply:
    return lambda body, text: (status, {"error": {"code": status, "message": "try again", "status": name}})


def html_503(body: dict[str, Any], text: str) -> tuple[int, Any]:
    return 503, b"<html>busy</html>"


def limited(seconds: float = 0.01, quota: str = "GenerateRequestsPerMinutePerProjectPerModel") -> Reply:
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"},
    ]
    error = {"code": 429, "message": "quota exceeded", "status": "RESOURCE_EXHAUSTED", "details": details}
    return lambda body, text: (429, {"error": error})
