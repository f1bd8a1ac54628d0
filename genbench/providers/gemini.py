"""Words by Gemini: scene, picture prompt and script of a sample as one JSON answer, checked before it counts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from genbench.composition import composition_of
from genbench.errors import ProviderError, SampleRefusedError
from genbench.providers.base import TextProvider, Usage
from genbench.providers.gemini_http import Transport, make_transport
from genbench.retry import RateLimit, RetryPolicy, TryAgainError, with_retries
from genbench.spec import SampleSpec

BASE_URL = "https://generativelanguage.googleapis.com"
# The order is the official client's own: the first that is set wins.
KEY_VARIABLES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
WORDS_PER_SECOND = 2.6
_CHARACTERS_PER_SECOND = 5.0  # Chinese and Japanese
_TOKENS_PER_WORD = 1.4
_THOUGHT_TOKENS = 1500
_SYSTEM = (
    "You write test material for programs that make a picture talk. Everything is invented: no real person, brand, song or "
    "quotation. Answer with the JSON object that is asked for and nothing else."
)
_FIELDS = {
    "scene": "where the character is, at most fifteen words",
    "picture_prompt": "a prompt for an image generator, 40 to 120 words: one character, its face in full view, lips closed",
    "talking_prompt": "one sentence that says who is talking, where and in what mood",
    "script": "what the character says: plain spoken sentences with full stops, no headings, lists or stage directions",
}
_NAMES = {
    "en": "English",
    "zh": "Chinese",
    "ja": "Japanese",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "ko": "Korean",
}


class Gemini(TextProvider):
    """model: its id, recorded, and an answer by another model ends the build. transport: "sdk" is google-genai, "rest"
    needs no package, "auto" takes the first that is there. Prices are yours, per million tokens; without them costs are in
    tokens.
    """

    name = "gemini"
    purpose = "scenes, prompts and scripts by Google's Gemini (options: model, requests_per_minute, price_in, price_out ..)"
    needs = "GOOGLE_API_KEY or GEMINI_API_KEY; pip install 'live-avatar[gemini]' for Google's own client"
    is_paid = True

    def __init__(
        self,
        model: str = "gemini-2.5-pro",
        transport: str = "auto",
        base_url: str = BASE_URL,
        api_version: str = "v1beta",
        temperature: float = 1.0,
        thinking_budget: int | None = None,
        max_output_tokens: int = 32_768,
        requests_per_minute: float | None = None,
        attempts: int = 6,
        first_wait_s: float = 2.0,
        most_wait_s: float = 120.0,
        timeout_s: float = 300.0,
        price_in: float | None = None,
        price_out: float | None = None,
    ) -> None:
        self.model = model.removeprefix("models/")
        self.transport_name, self.base_url, self.api_version = transport, _safe_url(base_url), api_version
        self.temperature, self.thinking_budget, self.max_output_tokens = temperature, thinking_budget, max_output_tokens
        self.timeout_s = timeout_s
        self.price_in, self.price_out = price_in, price_out
        self._policy = RetryPolicy(attempts, first_wait_s, most_s=max(most_wait_s, first_wait_s))
        self._limit = RateLimit(requests_per_minute)
        self._transport: Transport | None = None

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "model": self.model, "api_version": self.api_version, "temperature": self.temperature}

    def licence(self) -> str:
        return "made by Gemini: see the terms of Google's API"

    def request(self, spec: SampleSpec) -> dict[str, Any]:
        """The whole request as JSON values, the same for the same spec."""
        return {
            "model": self.model,
            "system": _SYSTEM,
            "prompt": _question(spec),
            "schema": {
                "type": "object",
                "properties": {name: {"type": "string", "description": text} for name, text in _FIELDS.items()},
                "required": list(_FIELDS),
            },
            "seed": spec.seed % 2**31,
            "temperature": self.temperature,
            "max_output_tokens": self.max_output_tokens,
            "thinking_budget": self.thinking_budget,
        }

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The raw answer in the service's own JSON form."""
        transport = self._transport = self._transport or make_transport(
            self.transport_name, self.base_url, self.api_version, _key(), self.timeout_s
        )

        def once() -> dict[str, Any]:
            self._limit.wait()
            return transport.generate(request)

        try:
            answer = with_retries(once, self._policy)
        except TryAgainError as error:
            raise ProviderError(
                f"{self.model} did not answer after {self._policy.attempts} attempts: {error}; "
                "repeat the command later, what was answered is kept"
            ) from error
        self._check_model(answer)
        try:
            answer_words(answer)
        except SampleRefusedError as error:
            error.answer = answer  # type: ignore[attr-defined]
            raise
        return answer

    def apply(self, spec: SampleSpec, answer: dict[str, Any] | None) -> SampleSpec:
        if answer is None:
            raise SampleRefusedError("no answer")
        words = answer_words(answer)
        _check_length(spec, words["script"])
        return replace(
            spec,
            scene=words["scene"],
            picture_prompt=words["picture_prompt"],
            prompt=words["talking_prompt"],
            text=words["script"],
        )

    def estimate(self, request: dict[str, Any]) -> Usage:
        thought = self.thinking_budget if self.thinking_budget and self.thinking_budget > 0 else _THOUGHT_TOKENS
        asked = json.dumps([request["system"], request["prompt"], request["schema"]])
        script = _wanted_words(request["prompt"]) * _TOKENS_PER_WORD
        return Usage(1, len(asked) // 4, round(script) + 300 + thought, estimated=True)

    def usage(self, answer: dict[str, Any]) -> Usage:
        counted = answer.get("usageMetadata") or {}
        made = (counted.get("candidatesTokenCount") or 0) + (counted.get("thoughtsTokenCount") or 0)
        return Usage(1, counted.get("promptTokenCount") or 0, made)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _check_model(self, answer: Mapping[str, Any]) -> None:
        answered = str(answer.get("modelVersion") or "").removeprefix("models/")
        if answered and not answered.startswith(self.model):
            raise ProviderError(
                f"{self.model} was asked, {answered} answered: the service sends this model's requests elsewhere. "
                f"A set is made by one model: choose another, e.g. model = {answered!r}, for a new folder"
            )


def answer_words(answer: Mapping[str, Any]) -> dict[str, str]:
    """The four texts of an answer. Raises SampleRefusedError where it was blocked, cut off, empty or not the JSON asked
    for.
    """
    blocked = (answer.get("promptFeedback") or {}).get("blockReason")
    if blocked:
        raise SampleRefusedError(f"the prompt was blocked ({blocked})")
    candidates = answer.get("candidates") or []
    if not candidates:
        raise SampleRefusedError("the answer holds no candidate")
    reason = candidates[0].get("finishReason") or "no finish reason"
    if reason != "STOP":
        raise SampleRefusedError(
            "the answer was cut off at its token limit: raise max_output_tokens"
            if reason == "MAX_TOKENS"
            else f"the answer was ended by {reason}"
        )
    parts = (candidates[0].get("content") or {}).get("parts") or []
    text = "".join(part.get("text") or "" for part in parts if not part.get("thought"))
    if not text.strip():
        raise SampleRefusedError("the answer is empty")
    try:
        record = json.loads(text)
        words = {name: " ".join(str(record[name]).split()) for name in _FIELDS}
    except (ValueError, KeyError, TypeError) as error:
        raise SampleRefusedError(f"the answer is not the JSON asked for ({error})") from error
    empty = [name for name, value in words.items() if not value]
    if empty:
        raise SampleRefusedError(f"the answer has an empty {empty[0]}")
    return words


def _question(spec: SampleSpec) -> str:
    where = composition_of(spec.composition)
    who = {
        "photo": f"a photo-realistic {spec.age} {spec.gender}, {spec.look}",
        "cartoon": f"a cartoon {spec.age} {spec.gender} in {spec.look} style",
        "animal": f"an anthropomorphic {spec.look} in clothes, not a human",
    }.get(spec.style, "a character")
    view = "in profile, the mouth clearly visible" if where.view == "profile" else "facing the camera"
    framing = {"head": "head and shoulders", "half_body": "half body", "full_body": "full body"}.get(where.framing, "any")
    wanted, unit = _wanted(spec)
    return (
        f"Invent one sample.\nCharacter: {who}.\nPicture: {framing}, {view}.\nScene idea: {spec.scene}.\n"
        f"Mood: {spec.emotion}.\n"
        f"Language of the script: {_NAMES.get(spec.language, spec.language)}; everything else in English.\n"
        f"Length of the script: {wanted} {unit} ({spec.duration_s:.0f} seconds of speech and a little more).\n"
        f"Sample {spec.id}, attempt {spec.attempt + 1}: differ from what you would write for other samples."
    )


def _wanted(spec: SampleSpec) -> tuple[int, str]:
    # A sentence more than needed: speech is cut after the sentence that ends nearest to the target.
    if spec.language[:2] in ("zh", "ja"):
        return round(spec.duration_s * 1.15 * _CHARACTERS_PER_SECOND) + 20, "characters"
    return round(spec.duration_s * 1.15 * WORDS_PER_SECOND) + 12, "words"


def _wanted_words(prompt: str) -> int:
    line = next((line for line in prompt.splitlines() if line.startswith("Length of the script: ")), "")
    digits = line.removeprefix("Length of the script: ").split(" ")[0]
    return int(digits) if digits.isdigit() else 0


def _check_length(spec: SampleSpec, script: str) -> None:
    wanted, unit = _wanted(spec)
    found = len(script.split()) if unit == "words" else sum(char.isalnum() for char in script)
    if not 0.7 * wanted <= found <= 2.5 * wanted:
        raise SampleRefusedError(f"the script has {found} {unit}, {wanted} were asked for")


def _key() -> str:
    for name in KEY_VARIABLES:
        if os.environ.get(name):
            return os.environ[name]
    raise ProviderError(f"gemini needs a key in the environment: set {' or '.join(KEY_VARIABLES)}")


def _safe_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError(
            f"base_url {url!r}: the key travels with every request, so give an https address (http only on this machine)"
        )
    return url.rstrip("/")
