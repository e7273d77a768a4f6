"""training.arguments: the form of the cards is the one that completes most held-out calls exactly right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from langchain_toolken.decoding.engine import Completion
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.call_cards import PLAIN, CallExample, CardForm
from langchain_toolken.toolkens.examples import ArgumentSettings
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.arguments import (
    BATCH,
    COPY_NATS,
    DEFAULT_FORM,
    FORMS,
    MOST_READ,
    SLOT_NATS,
    Way,
    choose_arguments,
)
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.fit import fit
from langchain_toolken.training.held_out_calls import CALLS_TRIED, ArgumentCalls, argument_calls
from langchain_toolken.training.slots import slot_examples
from langchain_toolken.training.update import update
from tests.support.scripted_engine import ScriptedEngine, completion

FOUR, EIGHT = CardForm(examples=4, request=True), CardForm(examples=8, request=True)
_ASKED = re.compile(r"Request: add (\d+)\nArguments: $")


def tool(name: str) -> ToolSpec:
    number = {"type": "integer"}
    properties = {"x": number, "step": {**number, "default": 1}}
    return ToolSpec(
        name=name,
        description=f"Do {name}.",
        json_schema={"type": "object", "properties": properties, "required": ["x"]},
    )


def demonstration(name: str, number: int) -> Demonstration:
    call = DemonstratedCall(start=0, tool=name, args={"x": number})
    return Demonstration(text="", calls=(call,), before=(HumanMessage(f"add {number}"),))


def demonstrations(count: int) -> list[Demonstration]:
    return [demonstration(("double", "triple")[number % 2], number) for number in range(count)]


# In no way to copy it is right, so that every way is tried.
NOT_COPIED = Demonstration(
    text="", calls=(DemonstratedCall(start=0, tool="double", args={"x": 999}),), before=(HumanMessage("add 30"),)
)
# Without one, a fit warns that nothing shows which requests need no tool.
PLAIN_CHAT = Demonstration(text="Hello.", calls=(), before=(HumanMessage("Hi"),))


@dataclass
class ToyEngine(ScriptedEngine):
    """An LM that reads the request off a card with enough examples, and otherwise writes the last thing it saw."""

    needed: int = 4
    context_length: int = 4096
    batches: list[int] = field(default_factory=list)
    copies: bool = False

    def complete(
        self, prompts: Sequence[Sequence[int]], specs: Any, *, max_tokens: int = 256, copying: Any = None
    ) -> list[Completion]:
        texts = [str(self.tokenizer.decode(list(prompt))) for prompt in prompts]
        self.prompts += [list(prompt) for prompt in prompts]
        self.batches.append(len(texts))
        completions = []
        for text, source in zip(texts, copying or [None] * len(texts), strict=True):
            asked = _ASKED.search(text)
            seen = asked if asked and text.count("{") == self.needed else None
            if self.copies and source is not None:
                seen = re.search(r"(\d+)", source.text)
            completions.append(completion("", {"x": int(seen[1]), "step": 1} if seen else {"x": -1}))
        return completions


TOOLS = [tool("double"), tool("triple")]


def chosen(
    engine: ToyEngine, calls: ArgumentCalls, forms: Sequence[CardForm] = FORMS, **options: Any
) -> ArgumentSettings:
    settings = choose_arguments(engine, calls, forms, "completion", "inline", **options).settings
    assert settings is not None
    return settings


@pytest.mark.parametrize("form", [FOUR, EIGHT])
def test_the_form_that_is_exactly_right_is_chosen_and_its_figures_are_kept_by_tool(form: CardForm) -> None:
    engine, seen = ToyEngine(needed=form.examples), []
    calls = argument_calls(demonstrations(30), TOOLS, "inline")
    settings = chosen(engine, calls, progress=lambda *told: seen.append(told[:2]))
    assert settings.form == form
    assert settings.accuracy == 1
    assert {name: (one.right, one.asked) for name, one in settings.tools.items()} == {
        "double": (15, 15),
        "triple": (15, 15),
    }
    tried = {one.form: (one.right, one.asked) for one in settings.tried if not one.copy_nats}
    assert tried[form] == (30, 30)
    assert all(asked == BATCH for other, (_, asked) in tried.items() if other != form)
    assert seen[-1] == (30, 30)


def test_equal_forms_are_chosen_by_the_shorter_card() -> None:
    calls = argument_calls(demonstrations(30), TOOLS, "inline")
    assert chosen(ToyEngine(needed=99), calls).form == PLAIN


def test_copying_is_preferred_where_it_makes_more_held_out_calls_right() -> None:
    calls = argument_calls(demonstrations(30), TOOLS, "inline")
    settings = chosen(ToyEngine(needed=99, copies=True), calls)
    assert (settings.copy_nats, settings.copied) == (COPY_NATS, {"double": ("x",), "triple": ("x",)})
    assert settings.accuracy == 1
    assert [(one.copy_nats, one.right) for one in settings.tried][-2:] == [(0, 0), (COPY_NATS, 30)]


def test_of_equal_ways_to_copy_the_one_with_slots_is_kept(tiny_llama: LanguageModel) -> None:
    calls = argument_calls([*demonstrations(30), NOT_COPIED], TOOLS, "inline")
    read = slot_examples(tiny_llama, calls.examples, calls.copied)
    engine = ToyEngine(needed=99, copies=True)
    learnt = choose_arguments(engine, calls, FORMS, "completion", "inline", slot_examples=read)
    assert learnt.settings is not None
    assert [(one.copying, one.right) for one in learnt.settings.tried][-2:] == [
        (", copying preferred", 30),
        (", copying preferred, the spans found by slots", 30),
    ]
    assert learnt.settings.copy_nats == SLOT_NATS
    assert learnt.slots is not None
    assert set(learnt.slots.of_tool) == {"double", "triple"}


@pytest.mark.parametrize(("missed", "with_slots"), [(3, True), (4, False)])
def test_slots_may_miss_a_tenth_of_the_calls_that_plain_copying_gets_right(
    tiny_llama: LanguageModel, missed: int, with_slots: bool
) -> None:
    class Misses(ToyEngine):
        def complete(self, prompts: Any, specs: Any, *, max_tokens: int = 256, copying: Any = None) -> list[Completion]:
            found = super().complete(prompts, specs, max_tokens=max_tokens, copying=copying)
            lost = [f"add {number}" for number in range(missed)]
            wrong = [bool(source and source.slots and source.text in lost) for source in copying or found]
            return [completion("", {"x": -1}) if lost else one for one, lost in zip(found, wrong, strict=True)]

    calls = argument_calls([*demonstrations(30), NOT_COPIED], TOOLS, "inline")
    read = slot_examples(tiny_llama, calls.examples, calls.copied)
    engine = Misses(needed=99, copies=True)
    learnt = choose_arguments(engine, calls, FORMS, "completion", "inline", slot_examples=read)
    assert (learnt.slots is not None) is with_slots


def test_a_way_that_was_settled_is_measured_and_kept(tiny_llama: LanguageModel) -> None:
    calls = argument_calls(demonstrations(30), TOOLS, "inline")
    read = slot_examples(tiny_llama, calls.examples, calls.copied)
    engine, settled = ToyEngine(needed=99, copies=True), Way(PLAIN, COPY_NATS)
    learnt = choose_arguments(engine, calls, FORMS, "completion", "inline", slot_examples=read, settled=settled)
    assert learnt.settings is not None
    assert [(one.copying, one.right) for one in learnt.settings.tried] == [(", copying preferred", 30)]
    assert learnt.slots is None


@pytest.mark.parametrize("engine", [ToyEngine(needed=4), ToyEngine(needed=4, copies=True), ToyEngine(needed=99)])
def test_copying_is_not_preferred_where_it_makes_no_more_right(engine: ToyEngine) -> None:
    calls = argument_calls(demonstrations(30), TOOLS, "inline")
    settings = chosen(engine, calls)
    assert (settings.copy_nats, settings.copied) == (0, {})


def test_a_call_is_never_among_its_own_examples_nor_is_another_of_the_same_request() -> None:
    engine = ToyEngine()
    twice = [*demonstrations(10), demonstration("double", 4).model_copy(update={"text": "So "})]
    choose_arguments(engine, argument_calls(twice, TOOLS, "inline"), [EIGHT], "completion", "inline")
    for text in engine.decoded():
        asked = _ASKED.search(text)
        assert asked is not None
        assert text.count(f"Request: add {asked[1]}\n") == 1
        assert f'{{"x":{asked[1]}}}' not in text


def test_the_work_is_bounded_and_spread_over_the_tools() -> None:
    engine = ToyEngine()
    calls = argument_calls(demonstrations(500), [*TOOLS, tool("halve")], "inline")
    assert [one.spec.name for one in calls.held_out].count("double") == CALLS_TRIED / 2
    choose_arguments(engine, calls, FORMS, "completion", "inline")
    assert sum(engine.batches) <= len(FORMS) * BATCH + 2 * (CALLS_TRIED - BATCH) + CALLS_TRIED


def longer(words: int) -> list[Demonstration]:
    return [
        one.model_copy(update={"before": (HumanMessage(f"{'word ' * words}add {number}"),)})
        for number, one in enumerate(demonstrations(60))
    ]


def test_fewer_calls_are_tried_where_the_lm_would_read_too_much() -> None:
    calls = argument_calls(longer(20), TOOLS, "inline")
    settings = chosen(ToyEngine(needed=99), calls)
    assert [(one.form.examples, one.asked) for one in settings.tried if not one.copy_nats] == [
        (0, 3 * BATCH),
        (2, 3 * BATCH),
        (4, BATCH),
    ]
    assert sum(one.asked * one.tokens for one in settings.tried) < MOST_READ


def test_cards_that_are_too_long_for_every_call_are_not_tried() -> None:
    settings = chosen(ToyEngine(needed=8), argument_calls(longer(40), TOOLS, "inline"))
    assert {one.form.examples for one in settings.tried} == {0, 2}


def test_a_first_form_that_is_always_right_is_compared_with_no_other() -> None:
    engine = ToyEngine(needed=4)
    calls = argument_calls(demonstrations(30), TOOLS, "inline")
    settings = chosen(engine, calls, [FOUR, EIGHT])
    assert [one.form for one in settings.tried] == [FOUR]
    assert sum(engine.batches) == 30


@pytest.mark.parametrize(("needed", "form"), [(2, FORMS[1]), (99, DEFAULT_FORM)])
def test_a_few_calls_choose_the_form_that_is_ever_right_or_else_the_default(needed: int, form: CardForm) -> None:
    calls = argument_calls(demonstrations(6), TOOLS, "inline")
    assert chosen(ToyEngine(needed=needed), calls).form == form


@pytest.mark.parametrize(("right", "form"), [(True, PLAIN), (False, DEFAULT_FORM)])
def test_with_one_call_a_tool_the_plain_card_stays_only_where_it_is_right(
    right: bool, form: CardForm, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ToyEngine()
    calls = argument_calls(demonstrations(2), TOOLS, "inline")
    answers = [completion("", {"x": one.example.arguments["x"] if right else -1}) for one in calls.held_out]
    monkeypatch.setattr(engine, "complete", lambda prompts, specs, **_: answers)
    settings = chosen(engine, calls)
    assert settings.form == form
    assert [one.form for one in settings.tried] == [PLAIN]


@pytest.mark.parametrize("slots", [True, False])
def test_with_one_call_a_tool_copying_is_taken_untried(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, slots: bool
) -> None:
    names = [f"times_{number}" for number in range(12)]
    shown = [demonstration(name, 30 + number) for number, name in enumerate(names)]
    calls = argument_calls(shown, [tool(name) for name in names], "inline")
    engine = ToyEngine()
    monkeypatch.setattr(engine, "complete", lambda prompts, specs, **_: [completion("", {"x": -1})] * len(prompts))
    read = slot_examples(tiny_llama, calls.examples, calls.copied) if slots else ()
    learnt = choose_arguments(engine, calls, FORMS, "completion", "inline", slot_examples=read)
    assert learnt.settings is not None
    assert learnt.settings.copied == dict.fromkeys(names, ("x",))
    assert learnt.settings.copy_nats == (SLOT_NATS if slots else COPY_NATS)
    assert [one.copy_nats for one in learnt.settings.tried] == [0]
    assert (learnt.slots is not None) == slots


def test_long_conversations_are_not_measured_on() -> None:
    long = [d.model_copy(update={"before": (HumanMessage("word " * 3000),)}) for d in demonstrations(20)]
    engine = ToyEngine()
    assert chosen(engine, argument_calls(long, TOOLS, "inline")).tried == ()


def test_a_fit_keeps_demonstrated_calls_and_an_update_adds_to_them(tiny_llama: LanguageModel) -> None:
    result = fit(tiny_llama, TOOLS, [*demonstrations(12), PLAIN_CHAT], card=EIGHT, lam=0.1, style="completion")
    assert result.toolkens.examples.form == EIGHT
    assert result.toolkens.examples.calls[0] == CallExample(tool="double", request="add 0", arguments={"x": 0})
    assert len(result.toolkens.examples.calls) == 12
    report = result.report()
    assert report.examples == 12
    assert report.tools[0].argument_calls == 6
    more = update(
        tiny_llama, result.toolkens, [*TOOLS, tool("halve")], [*[demonstration("halve", 1)] * 12, PLAIN_CHAT], lam=0.1
    )
    assert len(more.toolkens.examples.calls) == 13
    assert more.toolkens.examples.form == EIGHT
    assert [tool.argument_calls for tool in more.report().tools] == [6, 6, 12]


def test_a_fit_for_private_data_keeps_no_demonstrated_call(tiny_llama: LanguageModel) -> None:
    result = fit(
        tiny_llama, TOOLS, [*demonstrations(12), PLAIN_CHAT], lam=0.1, style="completion", keep_demonstrations=False
    )
    assert result.toolkens.examples.calls == ()
    assert result.toolkens.examples.form.examples == 0
