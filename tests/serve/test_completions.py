"""Answers in OpenAI's form: which tools a request may call, settings, histories, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from langchain_toolken.serve.completions import ToolPolicy
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.serving import ADD, ASKED, DEFAULT, OPENAI_ADD, app_of, client

CALL = reasoning("It is", "add")
ARGUMENTS = completion('{"a":3,"b":4}', {"a": 3, "b": 4})


def engine(*reasonings: Any, completions: Any = ()) -> ScriptedEngine:
    return ScriptedEngine(list(reasonings), list(completions))


async def ask(scripted: ScriptedEngine, policy: ToolPolicy = DEFAULT, **body: Any) -> Any:
    async with client(app_of(scripted, policy)) as http:
        return await http.post("/v1/chat/completions", json={"model": "scripted", "messages": ASKED, **body})


async def test_an_answer_without_tools_calls_nothing() -> None:
    scripted = engine(reasoning("Seven."))
    answer = (await ask(scripted)).json()
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "Seven."}
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]
    assert scripted.requests[0].active is None
    assert scripted.requests[0].toolkens is None


async def test_a_call_has_openais_form_and_says_what_fired() -> None:
    scripted = engine(CALL, completions=[ARGUMENTS])
    choice = (await ask(scripted, tools=[OPENAI_ADD])).json()["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "add")
    assert json.loads(call["function"]["arguments"]) == {"a": 3, "b": 4}
    assert choice["message"]["content"] == "It is"
    assert choice["finish_reason"] == "tool_calls"
    assert choice["toolken"]["name"] == "add"
    assert choice["toolken"]["probability"] == 0.75
    assert scripted.requests[0].active == {"add"}


async def test_a_call_without_words_has_no_content() -> None:
    choice = (await ask(engine(reasoning("", "add"), completions=[ARGUMENTS]), tools=[OPENAI_ADD])).json()["choices"][0]
    assert choice["message"]["content"] is None


async def test_a_tool_that_is_only_named_is_the_sets_own() -> None:
    named = {"type": "function", "function": {"name": "add"}}
    scripted = engine(CALL, completions=[ARGUMENTS])
    assert (await ask(scripted, tools=[named])).json()["choices"][0]["message"]["tool_calls"]
    assert any("Add a and b." in text for text in scripted.decoded())  # the card


async def test_a_tool_without_a_toolken_is_refused_by_name() -> None:
    unknown = {"type": "function", "function": {"name": "fly", "description": "Fly.", "parameters": {}}}
    answer = await ask(engine(), tools=[OPENAI_ADD, unknown])
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "unknown_tool"
    assert "'fly'" in error["message"]
    assert "'add'" not in error["message"]


async def test_without_tools_the_whole_set_can_be_bound() -> None:
    scripted = engine(CALL, completions=[ARGUMENTS])
    answer = await ask(scripted, ToolPolicy(without_tools="all"))
    assert answer.json()["choices"][0]["finish_reason"] == "tool_calls"
    none = engine(reasoning("Seven."))
    await ask(none, ToolPolicy(without_tools="all"), tools=[])
    assert none.requests[0].toolkens is None  # an empty list says that there are none


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
async def test_a_call_can_be_forced(choice: Any) -> None:
    answer = (await ask(engine(completions=[ARGUMENTS]), tools=[OPENAI_ADD], tool_choice=choice)).json()
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "add"


async def test_tool_choice_none_calls_nothing() -> None:
    scripted = engine(reasoning("Seven."))
    await ask(scripted, tools=[OPENAI_ADD], tool_choice="none")
    assert scripted.requests[0].toolkens is None


async def test_settings_of_a_request_reach_the_engine() -> None:
    scripted = engine(reasoning("Seven."))
    await ask(scripted, temperature=0.5, top_p=0.9, top_k=7, seed=3, max_completion_tokens=11, stop="\n", user="me")
    sampling = scripted.requests[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed) == (0.5, 0.9, 7, 3)
    assert sampling.max_tokens == 11
    assert "\n" in scripted.requests[0].stop


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "tool", "content": "7"}]}, "messages.0.tool_call_id"),
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"logit_bias": {"5": 100}}, "logit_bias"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"functions": [{"name": "add"}]}, "functions"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"seed": 10**400}, "seed"),
        ({"stop": ["a", ""]}, "stop"),
    ],
)
async def test_a_bad_field_is_named(body: dict[str, Any], param: str) -> None:
    answer = await ask(engine(), **body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"tool_choice": "required"}, "no tools are bound"),
        ({"tools": [OPENAI_ADD], "tool_choice": "fly"}, "'fly'"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}}},
            "not the schema of an object",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "add", "parameters": {"properties": 5}}}]},
            "properties must be an object",
        ),
        ({"tools": [OPENAI_ADD, {**OPENAI_ADD, "function": {**OPENAI_ADD["function"], "description": "x"}}]}, "'add'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "image"),
    ],
)
async def test_what_the_chat_model_refuses_is_the_clients_error(body: dict[str, Any], part: str) -> None:
    answer = await ask(engine(), **body)
    assert answer.status_code == 400
    assert part in answer.json()["error"]["message"]


async def test_a_history_with_a_result_is_continued() -> None:
    scripted = engine(reasoning(" seven."))
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":3,"b":4}'}}
    history = [
        *ASKED,
        {"role": "assistant", "content": "It is", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "7"},
    ]
    answer = await ask(scripted, messages=history, tools=[OPENAI_ADD])
    assert answer.status_code == 200
    assert scripted.requests[0].after_result
    assert scripted.decoded()[0].replace(" ", "").endswith("Itis7")


async def test_a_call_that_was_cut_off_comes_with_what_there_is_and_can_be_sent_back() -> None:
    scripted = engine(CALL, reasoning("Hm."), completions=[completion('{"a":3', None)])
    choice = (await ask(scripted, tools=[OPENAI_ADD])).json()["choices"][0]
    assert choice["finish_reason"] == "length"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["arguments"] == '{"a":3'
    result = {"role": "tool", "tool_call_id": call["id"], "content": "the arguments are no JSON"}
    answer = await ask(scripted, messages=[*ASKED, choice["message"], result], tools=[OPENAI_ADD])
    assert answer.json()["choices"][0]["message"]["content"] == "Hm."


async def test_a_prompt_that_is_too_long_has_openais_code() -> None:
    answer = await ask(engine(), messages=[{"role": "user", "content": "word " * 2000}])
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"


async def test_an_error_of_ours_says_nothing_of_the_inside(caplog: pytest.LogCaptureFixture) -> None:
    answer = await ask(engine())  # the script is empty
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "pop" not in answer.text
    assert "pop from empty list" in caplog.text


async def test_another_model_is_not_found() -> None:
    answer = await ask(engine(), model="gpt-5")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


def events(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_a_stream_has_the_answer_in_pieces() -> None:
    scripted = engine(CALL, completions=[ARGUMENTS])
    answer = await ask(scripted, tools=[OPENAI_ADD], stream=True, stream_options={"include_usage": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *pieces, end, used = events(answer.text)
    deltas = [piece["choices"][0]["delta"] for piece in pieces]
    assert deltas[0]["role"] == "assistant"
    assert "".join(delta.get("content") or "" for delta in deltas) == "It is"
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert calls[0]["function"]["name"] == "add"
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == {"a": 3, "b": 4}
    assert {call["index"] for call in calls} == {0}
    assert end["choices"][0]["finish_reason"] == "tool_calls"
    assert end["choices"][0]["toolken"]["name"] == "add"
    assert used["choices"] == []
    assert used["usage"]["completion_tokens"] > 0
    assert len({piece["id"] for piece in (*pieces, end, used)}) == 1


async def test_a_streamed_call_that_was_cut_off_has_the_arguments_as_far_as_they_go() -> None:
    cut = completion('{"a":3,"note":"\\"x', None)
    *pieces, end = events((await ask(engine(CALL, completions=[cut]), tools=[OPENAI_ADD], stream=True)).text)
    calls = [call for piece in pieces for call in piece["choices"][0]["delta"].get("tool_calls", ())]
    assert "".join(call["function"]["arguments"] for call in calls) == '{"a":3,"note":"\\"x'
    assert end["choices"][0]["finish_reason"] == "length"


async def test_a_stream_that_cannot_begin_is_an_error_with_its_status() -> None:
    answer = await ask(engine(), stream=True, tools=[OPENAI_ADD], tool_choice="fly")
    assert answer.status_code == 400
    assert "fly" in answer.json()["error"]["message"]


async def test_a_stream_that_breaks_off_says_so() -> None:
    answer = await ask(engine(CALL), stream=True, tools=[OPENAI_ADD])  # no completion in the script
    last = [line for line in answer.text.splitlines() if line][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"


async def test_an_answer_can_be_held_to_a_schema() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "sum", "schema": ADD.json_schema}}
    answer = await ask(engine(completions=[ARGUMENTS]), response_format=form)
    assert json.loads(answer.json()["choices"][0]["message"]["content"]) == {"a": 3, "b": 4}
