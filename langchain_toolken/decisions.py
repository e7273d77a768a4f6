"""`ToolkenDecisionModel`: which of several labels fits a state, by toolkens, as a LangChain decision model.

It needs langchain-core 1.8 or later; LangChain calls its decision models beta.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langchain_core.decisions import BaseDecisionModel, Choice, ChoiceAnswer, ClassifierResponse, Question
from langchain_core.decisions.types import Answer, State
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from pydantic import InstanceOf, JsonValue, model_validator

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.chat.settings import InvalidRequestError
from langchain_toolken.decoding.cancellation import in_thread
from langchain_toolken.tools.spec import ToolSpec

_NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


class ToolkenDecisionModel(BaseDecisionModel):
    """Answers `Choice` questions: each label is a toolken, and one forward pass of a small LM ranks them.

    Fit a set with one "tool" a label (`fit_toolkens`), with a few states for each as demonstrations. A label without a
    toolken is compared by its criterion, as a tool that is bound to a `ToolkenChat` is by its description, and a
    warning names it. The LM reads the state alone; the question's instructions are not read, since what the labels mean
    is in the toolkens and the criteria. The confidence is the chosen label's probability.

    Not answered: yes/no questions, scores and boxes.

    Args:
        llm: The small LM with its toolkens.
        model: The name that is reported; the LM's by default.

    Raises:
        InvalidRequestError: In a call: there is no question, or one that is not a `Choice`, or the state has no text.
    """

    llm: InstanceOf[ToolkenChat]
    model: str = ""

    @model_validator(mode="after")
    def _named(self) -> ToolkenDecisionModel:
        self.model = self.model or self.llm.model
        return self

    @property
    def _provider(self) -> str:
        return "toolken"

    def _classify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        if not questions:
            raise InvalidRequestError("there is no question: give at least one Choice in questions")
        text = _text(state)
        if not text.strip():
            raise InvalidRequestError("the state has no text to read")
        message = HumanMessage(text)
        answers: dict[str, Answer] = {}
        for name, question in questions.items():
            if not isinstance(question, Choice):
                raise InvalidRequestError(
                    f"the question {name!r} is a {type(question).__name__}; toolkens answer Choice questions only"
                )
            answers[name] = self._choice(message, question)
        read = self.llm.get_num_tokens_from_messages([message])
        usage = UsageMetadata(input_tokens=read, output_tokens=0, total_tokens=read)
        return ClassifierResponse(model=self.model, answers=answers, usage=usage)

    async def _aclassify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        return await in_thread(lambda: self._classify(state, questions))

    def _choice(self, message: HumanMessage, question: Choice) -> ChoiceAnswer:
        specs = [
            ToolSpec(name=label, description=_described(label, criterion), json_schema=_NO_ARGUMENTS)
            for label, criterion in question.criteria.items()
        ]
        ranking = self.llm.rank_tools([message], len(specs), tools=specs)
        found = {each.tool: each.probability for each in ranking}
        total = sum(found.values())
        # All may round to 0 where words are far likelier than any label.
        shares = {label: found[label] / total if total > 0 else 1 / len(specs) for label in question.criteria}
        best = ranking[0].tool
        return ChoiceAnswer(type="choice", choice=best, probabilities=shares, confidence=min(1.0, shares[best]))


def _text(state: State) -> str:
    """Return what the LM reads of a state: its text, a message's text, or JSON with the texts of messages."""
    if isinstance(state, str):
        return state
    if isinstance(state, BaseMessage):
        return state.text
    if not isinstance(state, Mapping) and all(isinstance(each, BaseMessage) for each in state):
        return "\n".join(each.text for each in state if isinstance(each, BaseMessage))
    return json.dumps(state, ensure_ascii=False, default=_message_text)


def _message_text(value: object) -> str:
    return value.text if isinstance(value, BaseMessage) else str(value)


def _described(label: str, criterion: JsonValue) -> str:
    if criterion is None:
        return label
    return criterion if isinstance(criterion, str) else json.dumps(criterion, ensure_ascii=False)
