"""Two ways to Gemini behind one method: Google's own client, and the plain REST form; failures sorted alike."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from genbench.errors import ProviderError
from genbench.retry import TryAgainError

INSTALL_HINT = "pip install 'live-avatar[gemini]'"
_PASSING = (408, 425, 429, 500, 502, 503, 504)


class Transport(ABC):
    """Sends one request, gives the answer in the service's JSON form (camelCase)."""

    @abstractmethod
    def generate(self, request: dict[str, Any]) -> dict[str, Any]:
        """Raises TryAgainError for what may pass, ProviderError for what will not."""

    def close(self) -> None:  # noqa: B027  (plain REST holds none)
        """Let go of connections."""


def make_transport(name: str, base_url: str, api_version: str, key: str, timeout_s: float) -> Transport:
    """name: "sdk", "rest", or "auto" for the first if google-genai is installed. Raises ProviderError where it is wanted
    and not.
    """
    if name not in ("sdk", "rest", "auto"):
        raise ValueError(f"transport {name!r}; choose sdk, rest or auto")
    if name != "rest":
        try:
            return SdkTransport(base_url, api_version, key, timeout_s)
        except ImportError as error:
            if name == "sdk":
                raise ProviderError(f"transport 'sdk' needs google-genai: {INSTALL_HINT}") from error
    return RestTransport(base_url, api_version, key, timeout_s)


class RestTransport(Transport):
    """POST .../models/MODEL:generateContent with the standard library."""

    def __init__(self, base_url: str, api_version: str, key: str, timeout_s: float) -> None:
        self._root, self._key, self._timeout_s = f"{base_url}/{api_version}/models", key, timeout_s

    def generate(self, request: dict[str, Any]) -> dict[str, Any]:
        posted = urllib.request.Request(
            f"{self._root}/{request['model']}:generateContent",
            json.dumps(rest_body(request)).encode(),
            {"Content-Type": "application/json", "x-goog-api-key": self._key},
        )
        try:
            with urllib.request.urlopen(posted, timeout=self._timeout_s) as response:
                data = response.read()
        except urllib.error.HTTPError as error:
            raise sorted_failure(error.code, _json_or_text(error)) from error
        except (OSError, http.client.HTTPException) as error:
            raise TryAgainError(f"the connection failed ({type(error).__name__})") from error
        return _object(data)


class SdkTransport(Transport):
    """google-genai's own client, without its retries: it does not read how long the service asks to wait."""

    def __init__(self, base_url: str, api_version: str, key: str, timeout_s: float) -> None:
        from google import genai
        from google.genai import errors, types

        self._types, self._api_error = types, errors.APIError
        # Held here: a client that nobody holds is closed at once.
        self._client = genai.Client(
            api_key=key,
            vertexai=False,
            http_options=types.HttpOptions(base_url=base_url, api_version=api_version, timeout=round(1000 * timeout_s)),
        )

    def generate(self, request: dict[str, Any]) -> dict[str, Any]:
        config = self._config(request)
        try:
            response = self._client.models.generate_content(
                model=request["model"], contents=request["prompt"], config=config
            )
        except self._api_error as error:
            raise sorted_failure(error.code, error.details) from error
        except ValueError as error:
            raise TryAgainError("the answer is no JSON") from error
        except Exception as error:
            # The client lets the errors of its HTTP library through, whose name differs between its versions.
            if type(error).__module__.split(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2"):
                raise TryAgainError(f"the connection failed ({type(error).__name__})") from error
            raise
        kept = response.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {name: value for name, value in kept.items() if name not in ("sdkHttpResponse", "parsed")}

    def close(self) -> None:
        getattr(self._client, "close", lambda: None)()

    def _config(self, request: dict[str, Any]) -> Any:
        types = self._types
        values: dict[str, Any] = {
            "system_instruction": request["system"],
            "temperature": request["temperature"],
            "seed": request["seed"],
            "max_output_tokens": request["max_output_tokens"],
            "response_mime_type": "application/json",
            "response_json_schema": request["schema"],
        }
        if request["thinking_budget"] is not None:
            values["thinking_config"] = types.ThinkingConfig(thinking_budget=request["thinking_budget"])
        # Newer clients go on by themselves where an answer was cut, with further paid requests.
        if "automatic_continuation" in types.GenerateContentConfig.model_fields:
            values["automatic_continuation"] = False
        return types.GenerateContentConfig(**values)


def rest_body(request: dict[str, Any]) -> dict[str, Any]:
    """The body of a generateContent request."""
    generation: dict[str, Any] = {
        "temperature": request["temperature"],
        "seed": request["seed"],
        "maxOutputTokens": request["max_output_tokens"],
        "responseMimeType": "application/json",
        "responseJsonSchema": request["schema"],
    }
    if request["thinking_budget"] is not None:
        generation["thinkingConfig"] = {"thinkingBudget": request["thinking_budget"]}
    return {
        "contents": [{"role": "user", "parts": [{"text": request["prompt"]}]}],
        "systemInstruction": {"parts": [{"text": request["system"]}]},
        "generationConfig": generation,
    }


def sorted_failure(code: int, details: Any) -> Exception:
    """TryAgainError or ProviderError for an HTTP status and the body that came with it."""
    message = _message(details)
    if code == 429 and any("PerDay" in str(value) for name, value in _walk(details) if name == "quotaId"):
        return ProviderError(
            f"the day's quota is used up ({message}); repeat the command tomorrow, what was answered is kept"
        )
    if code in _PASSING:
        waits = [_seconds(value) for name, value in _walk(details) if name == "retryDelay"]
        return TryAgainError(f"status {code}: {message}", max(waits, default=None))
    return ProviderError(f"the service refused the request with status {code}: {message}")


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every (name, value) inside nested JSON."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name, inner
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


def _message(details: Any) -> str:
    found = next((str(value) for name, value in _walk(details) if name == "message" and value), "")
    text = found or (details if isinstance(details, str) else "")
    return " ".join(text.split())[:300] or "no message"


def _seconds(text: Any) -> float:
    try:
        return max(0.0, float(str(text).removesuffix("s")))
    except ValueError:
        return 0.0


def _json_or_text(error: urllib.error.HTTPError) -> Any:
    try:
        data = error.read()
    except (OSError, http.client.HTTPException):
        return ""
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")


def _object(data: bytes) -> dict[str, Any]:
    try:
        record = json.loads(data)
    except ValueError as error:
        raise TryAgainError("the answer is no JSON") from error
    if not isinstance(record, dict):
        raise TryAgainError("the answer is no JSON object")
    return record
