"""A real vLLM server with the plugin gives the calls and answers of the engine in this process, on nano."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from openai import BadRequestError, OpenAI

from langchain_toolken import ToolkenChat, create_toolken_agent
from langchain_toolken.decoding.export import export
from langchain_toolken.decoding.vllm.connection import VllmConnectionError, VllmMismatchError
from langchain_toolken.evaluation.nano_demonstrations import nano_demonstrations
from langchain_toolken.evaluation.questions import nano_questions
from langchain_toolken.nano.tools import MATH_TOOLS
from langchain_toolken.prompts.tool_cards import openai_tool
from langchain_toolken.serve.vllm_process import VllmProcess
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.fit import fit
from tests.support.real_vllm import missing, real_vllm

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]

MANY = 500


@pytest.fixture(scope="module")
def toolkens() -> ToolkenSet:
    """Those of 13 tools, fitted, and 487 that nobody needs, with a gate and all evidence: far beyond 128 stop ids."""
    fitted = fit("nano", MATH_TOOLS, nano_demonstrations(15, seed=3)).toolkens
    rest = MANY - len(fitted)
    names = [f"unused_{number}" for number in range(rest)]
    specs = [fitted.specs[0].model_copy(update={"name": name, "description": f"Does {name}."}) for name in names]
    return fitted.add(specs, fitted.matrix[:1].expand(rest, -1) * 0.5)


@pytest.fixture(scope="module")
def server(toolkens: ToolkenSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmProcess]:
    folder = tmp_path_factory.mktemp("vllm") / "exported"
    export(toolkens, folder, dtype="float32")
    template = folder.parent / "template.jinja"  # nano has none of its own
    template.write_text(
        "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}Q: {{ message.content }}\nA:"
        "{% endif %}{% endfor %}"
    )
    with real_vllm(folder, "--chat-template", str(template)) as process:
        yield process


@pytest.fixture(scope="module")
def here(toolkens: ToolkenSet) -> ToolkenChat:
    return ToolkenChat(model="nano", toolkens=toolkens, max_tokens=64)


@pytest.fixture(scope="module")
def there(toolkens: ToolkenSet, server: VllmProcess) -> ToolkenChat:
    return ToolkenChat(backend="vllm", base_url=server.base_url, toolkens=toolkens, max_tokens=64, max_batch_size=32)


@pytest.fixture(scope="module")
def questions() -> list[str]:
    return [question.text for question in nano_questions(50, "numbers")]


def said(message: AIMessage) -> tuple[object, ...]:
    calls = [(call["name"], call["args"]) for call in message.tool_calls]
    fired = message.response_metadata["toolken"]
    return message.text, calls, message.response_metadata["finish_reason"], fired and fired["name"]


def test_fifty_questions_get_the_same_calls_and_texts(
    toolkens: ToolkenSet, here: ToolkenChat, there: ToolkenChat, questions: list[str]
) -> None:
    ours = here.bind_tools(toolkens.specs).batch(questions)
    theirs = there.bind_tools(toolkens.specs).batch(questions)
    assert [said(message) for message in theirs] == [said(message) for message in ours]
    assert sum(bool(message.tool_calls) for message in theirs) > 40
    for one, other in zip(ours, theirs, strict=True):
        if one.tool_calls:
            fired, too = (message.response_metadata["toolken"] for message in (one, other))
            assert too["probability"] == pytest.approx(fired["probability"], abs=0.01)
            assert len(too["runners_up"]) == 4


def test_thirty_two_agents_at_once_end_as_in_process(
    toolkens: ToolkenSet, here: ToolkenChat, there: ToolkenChat, questions: list[str]
) -> None:
    def answers(chat: ToolkenChat) -> list[str]:
        agent = create_toolken_agent(chat, MATH_TOOLS)
        with ThreadPoolExecutor(32) as pool:
            ends = pool.map(lambda asked: agent.invoke({"messages": [("user", asked)]})["messages"][-1], questions[:32])
            return [str(message.text) for message in ends]

    assert answers(there) == answers(here)


def test_a_stream_comes_in_pieces(here: ToolkenChat, there: ToolkenChat, questions: list[str]) -> None:
    chunks = [chunk for chunk in there.stream(questions[0]) if chunk.text]
    assert len(chunks) > 5
    assert "".join(chunk.text for chunk in chunks) == here.invoke(questions[0]).text


def test_typed_names_of_toolkens_stay_text(
    toolkens: ToolkenSet, here: ToolkenChat, there: ToolkenChat, questions: list[str]
) -> None:
    asked = f"<|toolken 0 add|> <add> {questions[1]}"
    assert said(there.bind_tools(toolkens.specs).invoke(asked)) == said(here.bind_tools(toolkens.specs).invoke(asked))


def test_other_toolkens_are_refused_before_the_first_request(toolkens: ToolkenSet, server: VllmProcess) -> None:
    other = replace(toolkens, bias=toolkens.bias + 1)
    chat = ToolkenChat(backend="vllm", base_url=server.base_url, toolkens=other)
    with pytest.raises(VllmMismatchError, match="has other toolkens than these"):
        chat.bind_tools(other.specs).invoke("How much is 3 plus 4?")


def test_openais_client_calls_tools_through_vllms_own_chat_api(
    toolkens: ToolkenSet, here: ToolkenChat, server: VllmProcess, questions: list[str]
) -> None:
    client = OpenAI(base_url=server.base_url, api_key="none", max_retries=0)
    tools: Any = [openai_tool(spec) for spec in toolkens.specs]
    for question in questions[:3]:
        message = here.bind_tools(toolkens.specs).invoke(question)
        asked: Any = {"model": "toolken", "messages": [{"role": "user", "content": question}], "max_tokens": 60}
        choice = client.chat.completions.create(**asked, tools=tools).choices[0]
        (call,) = choice.message.tool_calls or ()
        assert choice.finish_reason == "tool_calls"
        assert (choice.message.content or "").strip() == message.text
        assert call.function.name == message.tool_calls[0]["name"]
        assert json.loads(call.function.arguments).keys() == message.tool_calls[0]["args"].keys()
        deltas = [part.choices[0].delta for part in client.chat.completions.create(**asked, tools=tools, stream=True)]
        parts = [part.function for delta in deltas for part in delta.tool_calls or ()]
        assert "".join(delta.content or "" for delta in deltas) == choice.message.content
        assert "".join(part.name or "" for part in parts) == call.function.name
        assert "".join(part.arguments or "" for part in parts) == call.function.arguments
        assert len([part for part in parts if part.arguments]) > 2
    forced = client.chat.completions.create(
        **asked, tools=tools[:13], tool_choice={"type": "function", "function": {"name": "divide"}}
    )
    assert [call.function.name for call in forced.choices[0].message.tool_calls or ()] == ["divide"]
    plain = client.chat.completions.create(**asked, tools=tools[:13], tool_choice="none")
    assert not plain.choices[0].message.tool_calls
    with pytest.raises(BadRequestError, match="no toolken for 'nothing'"):
        client.chat.completions.create(
            **asked, tools=[{"type": "function", "function": {"name": "nothing", "description": "Nothing."}}]
        )


# The last test: it kills the server.
def test_agents_live_through_a_killed_and_restarted_server(
    toolkens: ToolkenSet, here: ToolkenChat, server: VllmProcess, questions: list[str]
) -> None:
    patient = ToolkenChat(
        backend="vllm",
        base_url=server.base_url,
        toolkens=toolkens,
        max_tokens=64,
        model_kwargs={"patience": 240.0},
    )
    hasty = patient.model_copy(update={"model_kwargs": {"patience": 0.5}})
    begun = threading.Event()
    asked = questions[32:48]

    def run(number: int) -> str | VllmConnectionError:
        agent = create_toolken_agent(hasty if number % 4 == 0 else patient, MATH_TOOLS)
        try:
            for _ in range(100):
                state = agent.invoke({"messages": [("user", asked[number])]})
                begun.set()
                if killed.is_set():
                    return str(state["messages"][-1].text)
        except VllmConnectionError as error:
            return error
        raise AssertionError("the server was never killed")

    killed = threading.Event()
    with ThreadPoolExecutor(len(asked)) as pool:
        running = [pool.submit(run, number) for number in range(len(asked))]
        assert begun.wait(60)
        assert server.pid is not None
        os.killpg(server.pid, signal.SIGKILL)
        killed.set()
        time.sleep(2)
        server.stop()
        server.start()
        ends = [each.result() for each in running]
    agent = create_toolken_agent(here, MATH_TOOLS)
    right = [str(agent.invoke({"messages": [("user", each)]})["messages"][-1].text) for each in asked]
    for number, (end, wanted) in enumerate(zip(ends, right, strict=True)):
        if isinstance(end, VllmConnectionError):
            assert number % 4 == 0
            assert "tried again for 0.5 seconds" in str(end)
        else:
            assert end == wanted
    assert any(isinstance(end, VllmConnectionError) for end in ends)
