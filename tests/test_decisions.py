"""Toolkens as a LangChain decision model. langchain-tests has no standard tests for these (1.1.9 is the newest)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

decisions = pytest.importorskip("langchain_core.decisions", reason="decision models came with langchain-core 1.8")

from langchain.agents import create_agent  # noqa: E402
from langchain.agents.middleware import ModelChoice, ModelRouterMiddleware  # noqa: E402
from langchain_core._api import LangChainBetaWarning  # noqa: E402
from langchain_core.decisions import Choice, ChoiceAnswer, Noul, Score  # noqa: E402
from langchain_core.exceptions import ModelInvalidRequestError  # noqa: E402
from langchain_core.messages import AIMessage, HumanMessage  # noqa: E402

from langchain_toolken import ToolkenChat  # noqa: E402
from langchain_toolken.decisions import ToolkenDecisionModel  # noqa: E402
from langchain_toolken.decoding.local.engine import TransformersEngine  # noqa: E402
from langchain_toolken.toolkens.evidence import Evidence  # noqa: E402
from langchain_toolken.toolkens.lexical import LexicalMatch  # noqa: E402
from langchain_toolken.toolkens.set import ToolkenSet  # noqa: E402
from langchain_toolken.tools.spec import ToolSpec  # noqa: E402
from tests.support.host import Host  # noqa: E402
from tests.support.tiny import make_lm  # noqa: E402
from tests.support.toolken_sets import provenance_of  # noqa: E402

TEAM = Choice(instructions="Which team?", criteria={"billing": "Invoices.", "technical": None})
ASKED: Any = {"state": "My invoice is wrong.", "questions": {"team": TEAM}}


@pytest.fixture(scope="module")
def model() -> ToolkenDecisionModel:
    """Labels by the words of "invoice refund" and "crash error"."""
    lm = make_lm()
    specs = tuple(
        ToolSpec(name=name, description=name, json_schema={"type": "object", "properties": {}})
        for name in ("billing", "technical", "sales")
    )
    rows = torch.zeros(3, lm.hidden_size)
    words = LexicalMatch("description", 2.0, ("invoice refund", "crash error", "price offer"))
    evidence = Evidence(scale=0.0, lexical=(words,))
    toolkens = ToolkenSet(specs, rows, rows, 0.0, provenance_of(lm, "chat"), evidence=evidence)
    return ToolkenDecisionModel(llm=ToolkenChat.from_engine(TransformersEngine(lm), toolkens))


def check(response: Any) -> ChoiceAnswer:
    assert isinstance(response, decisions.ClassifierResponse)
    answer = response.choices["team"]
    assert list(answer.probabilities) == ["billing", "technical"]
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert answer.confidence == answer.probabilities[answer.choice]
    assert response.usage is not None
    assert response.usage["input_tokens"] > 0
    return answer


async def test_a_choice_is_a_distribution_over_its_labels_however_it_is_asked(model: ToolkenDecisionModel) -> None:
    other = {**ASKED, "state": HumanMessage("There is an error, a crash.")}
    assert [check(each).choice for each in model.batch([ASKED, other])] == ["billing", "technical"]
    assert [check(each).choice for each in await model.abatch([other, ASKED])] == ["technical", "billing"]
    assert check(model.invoke(ASKED)) == check(await model.ainvoke(ASKED))
    assert [check(each) for each in model.stream(ASKED)] == [check(model.invoke(ASKED))]
    assert model.model == model.llm.model


@pytest.mark.parametrize(
    "state",
    [
        [HumanMessage("Hello."), AIMessage("Yes?"), HumanMessage("A crash.")],
        {"ticket": {"text": "crash", "from": HumanMessage("me")}},
        ["an error", 3, None],
    ],
)
def test_a_state_is_read_in_every_form(model: ToolkenDecisionModel, state: Any) -> None:
    assert check(model.invoke({"state": state, "questions": {"team": TEAM}})).choice == "technical"


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"state": "hello", "questions": {}}, "no question"),
        ({"state": " ", "questions": {"team": TEAM}}, "no text"),
        ({"state": "hello", "questions": {"urgent": Noul(instructions="Urgent?")}}, "'urgent' is a Noul"),
        ({"state": "a", "questions": {"s": Score(instructions="?", criteria=["a", "b"])}}, "Choice questions only"),
    ],
)
async def test_what_is_not_answered_is_an_invalid_request(model: ToolkenDecisionModel, request_: Any, why: str) -> None:
    with pytest.raises(ModelInvalidRequestError, match=why):
        model.invoke(request_)
    with pytest.raises(ModelInvalidRequestError, match=why):
        await model.ainvoke(request_)
    assert isinstance(model.batch([request_], return_exceptions=True)[0], ModelInvalidRequestError)


def test_a_label_without_a_toolken_is_compared_by_its_criterion(model: ToolkenDecisionModel) -> None:
    question = Choice(instructions="Which team?", criteria={"billing": None, "garden": "Trees and flowers."})
    with pytest.warns(UserWarning, match="No fitted toolken for 'garden'"):
        answer = model.invoke({"state": "The flowers are dry.", "questions": {"team": question}}).choices["team"]
    assert answer.choice == "garden"


def test_it_routes_the_models_of_an_agent(model: ToolkenDecisionModel) -> None:
    hosts = {name: Host(script=[f"This is {name}."]) for name in ("billing", "technical")}
    choices = {name: ModelChoice(model=host, criteria=name) for name, host in hosts.items()}
    with pytest.warns(LangChainBetaWarning):
        router = ModelRouterMiddleware(choices=choices, instructions="Which team?", classifier=model)
    agent = create_agent(hosts["billing"], [], middleware=[router])
    messages = agent.invoke({"messages": [HumanMessage("It says error and crash.")]})["messages"]
    assert messages[-1].text == "This is technical."
