"""Gemini as a text provider: what is sent, which failures pass, which answers count; over HTTP against a local server.

Every test runs over both transports. "sdk" is google-genai's own client and skips where that package is not installed.
"""

from __future__ import annotations

import pytest

from genbench.errors import ProviderError, SampleRefusedError
from genbench.providers import make_text
from genbench.spec import SetSize, draw_set
from tests.genbench.gemini_server import (
    MODEL,
    GeminiServer,
    broken_off,
    cut_off,
    empty,
    failing,
    gemini_server,
    html_503,
    limited,
    no_json,
    other_model,
    refused,
    unsafe,
)

KEY = "a-secret-of-the-test"
SPEC = draw_set("short", "full", size=SetSize(4, (8.0, 9.0)), kind="generated").samples[1]


@pytest.fixture
def server(monkeypatch):
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GEMINI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    with gemini_server() as state:
        yield state


@pytest.fixture(params=["rest", "sdk"])
def provider(request, server: GeminiServer):
    if request.param == "sdk":
        pytest.importorskip("google.genai", reason="google-genai's own client needs: pip install 'live-avatar[gemini]'")
    made = make_text("gemini", provider_options(server, request.param))
    yield made
    made.close()


def provider_options(server: GeminiServer, transport: str) -> dict[str, object]:
    waits = {"first_wait_s": 0.001, "most_wait_s": 0.05, "attempts": 3}
    return {"transport": transport, "base_url": server.url, "timeout_s": 5.0, "thinking_budget": 128, **waits}


def ask(provider, spec=SPEC):
    return provider.ask(provider.request(spec))


def test_a_good_answer_fills_the_spec(provider, server):
    answer = ask(provider)
    spec = provider.apply(SPEC, answer)
    assert spec.scene == f"by the river, {SPEC.id}"
    assert spec.picture_prompt == f"one person by a river, {SPEC.id}"
    assert spec.prompt == "A person by a river is talking."
    assert len(spec.text.split()) >= 2.6 * SPEC.duration_s
    assert (spec.style, spec.composition, spec.gender, spec.voice) == (SPEC.style, SPEC.composition, SPEC.gender, SPEC.voice)
    usage = provider.usage(answer)
    assert (usage.requests, usage.input_tokens, usage.output_tokens) == (1, 100, 50)


def test_the_request_has_all_that_decides_the_answer(provider, server):
    ask(provider)
    (body,) = server.bodies
    generation = body["generationConfig"]
    assert generation["seed"] == SPEC.seed % 2**31
    assert generation["responseMimeType"] == "application/json"
    assert set(generation["responseJsonSchema"]["properties"]) == {"scene", "picture_prompt", "talking_prompt", "script"}
    thinking = generation["thinkingConfig"]
    assert (thinking.get("thinkingBudget") or thinking.get("thinking_budget")) == 128
    prompt = body["contents"][0]["parts"][0]["text"]
    assert SPEC.look in prompt
    assert SPEC.age in prompt
    assert server.keys == [KEY]
    assert KEY not in str(body)


@pytest.mark.parametrize(
    "reply", [limited(), failing(500), failing(503, "UNAVAILABLE"), failing(504), html_503, broken_off, no_json]
)
def test_what_may_pass_is_tried_again(provider, server, reply):
    server.next_replies = [reply, reply]
    assert ask(provider)["modelVersion"] == MODEL
    assert len(server.bodies) == 3


def test_a_service_that_stays_down_ends_the_build_and_not_the_sample(provider, server):
    server.next_replies = [failing(500)] * 3
    with pytest.raises(ProviderError, match="did not answer after 3 attempts"):
        ask(provider)
    assert len(server.bodies) == 3


def test_the_wait_that_the_service_asks_for_is_kept(provider, server):
    # Longer than the most we wait for: asking again at once would only be refused again.
    server.next_replies = [limited(seconds=30)]
    with pytest.raises(ProviderError, match="quota exceeded"):
        ask(provider)
    assert len(server.bodies) == 1


def test_a_used_up_day_stops_at_once(provider, server):
    server.next_replies = [limited(quota="GenerateRequestsPerDayPerProjectPerModel")]
    with pytest.raises(ProviderError, match="tomorrow"):
        ask(provider)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(("status", "name"), [(400, "INVALID_ARGUMENT"), (403, "PERMISSION_DENIED"), (404, "NOT_FOUND")])
def test_a_wrong_request_is_not_repeated(provider, server, status, name):
    server.next_replies = [failing(status, name)]
    with pytest.raises(ProviderError, match=f"status {status}"):
        ask(provider)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(refused, "blocked"), (unsafe, "SAFETY"), (cut_off, "token limit"), (empty, "empty")],
)
def test_answers_without_words_are_refused_and_kept(provider, server, reply, reason):
    server.next_replies = [reply]
    with pytest.raises(SampleRefusedError, match=reason) as caught:
        ask(provider)
    assert caught.value.answer["modelVersion"] == MODEL
    assert len(server.bodies) == 1


def test_another_models_answer_is_an_error(provider, server):
    server.next_replies = [other_model]
    with pytest.raises(ProviderError, match=r"gemini-3\.8-flash answered"):
        ask(provider)


def test_a_script_of_the_wrong_length_is_refused():
    provider = make_text("gemini", {"transport": "rest"})
    text = '{"scene": "a", "picture_prompt": "b", "talking_prompt": "c", "script": "Too short."}'
    answer = {"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": text}]}}]}
    with pytest.raises(SampleRefusedError, match="has 2 words"):
        provider.apply(SPEC, answer)


def test_the_key_comes_from_the_environment_only(monkeypatch, server):
    monkeypatch.delenv("GEMINI_API_KEY")
    provider = make_text("gemini", provider_options(server, "rest"))
    with pytest.raises(ProviderError, match="GOOGLE_API_KEY or GEMINI_API_KEY"):
        ask(provider)
    with pytest.raises(ValueError, match="does not take these options"):
        make_text("gemini", {"api_key": KEY})
    with pytest.raises(ValueError, match="https"):
        make_text("gemini", {"base_url": "http://example.org"})


def test_the_cost_is_estimated_before_anything_is_asked(server):
    provider = make_text("gemini", provider_options(server, "rest"))
    estimate = provider.estimate(provider.request(SPEC))
    assert estimate.estimated
    assert estimate.output_tokens > 1.4 * 2.6 * SPEC.duration_s
    assert not server.bodies
