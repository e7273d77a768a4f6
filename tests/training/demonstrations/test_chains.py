"""demonstrations.chains: texts after others like them, with their calls in place, and no token read twice."""

from __future__ import annotations

from langchain_core.messages import AIMessage, HumanMessage

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.worked_answers import WorkedAnswer
from langchain_toolken.training.demonstrations.chains import LENGTH, chained, worked_answer
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.demonstrations.load import LoadedDemonstrations
from langchain_toolken.training.features.lm_pass import plan_batches
from langchain_toolken.training.features.supervision import supervise
from tests.support.tiny import make_tokenizer

TOKENIZER = make_tokenizer()


def text(question: str, before: str, result: str, after: str = "") -> Demonstration:
    lead = f"Q: {question}\nA: {before}"
    call = DemonstratedCall(start=len(lead), tool="add", args={}, result=result)
    return Demonstration(text=f"{lead}{result}{after}", calls=(call,))


def texts(count: int) -> list[Demonstration]:
    return [text(f"How many {word} are {n} and 5?", f"{n}+5=", str(n + 5), ".") for n, word in enumerate(WORDS[:count])]


WORDS = ["pens", "cakes"] * 10


def test_a_text_with_a_question_is_a_worked_answer() -> None:
    made = worked_answer(text("And 2?", "It is 1+1=", "2", " then."))
    assert made == WorkedAnswer(question="And 2?", answer="It is 1+1=2 then.", tools=("add",))
    assert worked_answer(Demonstration(text="no question here", calls=())) is None
    assert worked_answer(Demonstration(text="a", calls=(), before=(HumanMessage("q"),))) is None


def test_each_text_comes_once_after_others_like_it_and_keeps_its_place_and_its_call() -> None:
    given = [*texts(14), Demonstration(text="no question here", calls=())]
    made = chained(LoadedDemonstrations(tuple(given), ()), TOKENIZER, 10_000, 0).demonstrations
    assert len(made) == len(given)
    assert made[-1] == given[-1]
    lengths = sorted(len(one.before) // 2 for one in made[:-1])
    assert lengths == sorted([*range(LENGTH), *range(LENGTH), 0, 1])
    for one, old in zip(made[:-1], given, strict=False):
        (call,) = one.calls
        assert str(call.result) == one.text[call.start :].removesuffix(".")
        question = str(one.before[-1].content)
        assert old.text == f"Q: {question}\nA: {one.text}"
        earlier = [str(message.content) for message in one.before[:-1:2]]
        assert question not in earlier
        assert all(isinstance(message, AIMessage) for message in one.before[1::2])
    longest = max(made[:-1], key=lambda one: len(one.before))
    word = str(longest.before[-1].content).split()[2]
    assert all(word in str(message.content) for message in longest.before[2::2])


def test_a_chain_stays_within_its_tokens() -> None:
    made = chained(LoadedDemonstrations(tuple(texts(8)), ()), TOKENIZER, 1, 0).demonstrations
    assert [len(one.before) for one in made] == [1] * 8


def test_texts_of_one_question_are_not_chained_since_one_would_give_the_other_away() -> None:
    given = [text("And 2?", f"It is {n}+{2 - n}=", "2") for n in range(3)]
    made = chained(LoadedDemonstrations(tuple(given), ()), TOKENIZER, 1000, 0).demonstrations
    assert [len(one.before) for one in made] == [1, 1, 1]


def test_the_lm_reads_a_chain_once(tiny_llama: LanguageModel) -> None:
    given = texts(6)
    made = chained(LoadedDemonstrations(tuple(given), ()), tiny_llama.tokenizer, 10_000, 0).demonstrations
    supervisions, dropped = supervise(tiny_llama, made, ["add"], "completion")
    assert not dropped
    batches = plan_batches(supervisions, 10_000)
    assert sum(len(batch.sequences) for batch in batches) == 1
