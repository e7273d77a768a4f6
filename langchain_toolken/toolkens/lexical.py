"""How well the words of a request match each tool: BM25 with a text for each tool, and a classifier over words.

Both are plain data (texts, a vocabulary, arrays), so that a saved set holds no code, and both take well under a
millisecond for a thousand tools. Training and decoding use the same functions.
"""

from __future__ import annotations

import logging
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from langchain_toolken.toolkens.embeddings import EmbeddingMatch
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.priors import name_words
from langchain_toolken.tools.spec import ToolSpec

if TYPE_CHECKING:
    from bm25s import BM25

# Chinese and Japanese are written without spaces: each of their characters counts as a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Letters of a part of a word.
_PART = 5
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def words_of(text: str) -> list[str]:
    """Split a text into words, without case and punctuation: "What's 3+4?" is what, s, 3, 4."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def terms_of(text: str) -> list[str]:
    """Split a text into its words and the parts of five letters that these have, their ends marked.

    "Booked" and "booking" are different words, and both have the part "_book". So it works for any language that forms
    words by endings.
    """
    terms = []
    for word in words_of(text):
        marked = f"_{word}_"
        terms += [f"|{word}", *(marked[at : at + _PART] for at in range(max(1, len(marked) - _PART + 1)))]
    return terms


def description_document(spec: ToolSpec) -> str:
    """Return what a tool says of itself: the words of its name, its description, and its arguments' names."""
    properties = spec.json_schema.get("properties")
    arguments = map(name_words, properties) if isinstance(properties, dict) else ()
    return " ".join((name_words(spec.name), spec.description, *arguments))


def demonstrations_document(spec: ToolSpec, requests: Sequence[str]) -> str:
    """Return `description_document` and the requests that the tool was demonstrated with, a line each.

    A tool without demonstrations has its description alone, so that it can be compared with the others.
    """
    return "\n".join((description_document(spec), *requests))


@dataclass(frozen=True, eq=False)
class LexicalMatch:
    """BM25 of the request with a text for each tool (Lucene's variant, which has no negative weights of words).

    Attributes:
        kind: What the texts are made of: `description_document` or `demonstrations_document`.
        weight: What a point of BM25 adds to a tool's score.
        documents: K texts, in the order of the tools.
        parts: Whether parts of words count beside the words (`terms_of`).

    Raises:
        ToolkenSetError: The weight is not finite.
    """

    kind: Literal["description", "demonstrations"]
    weight: float
    documents: tuple[str, ...]
    parts: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "documents", tuple(self.documents))
        check_weight(self.weight, self.kind)

    def __len__(self) -> int:
        return len(self.documents)

    @cached_property
    def _index(self) -> BM25 | None:
        """The index of the documents; None if no document has a word."""
        from bm25s import BM25

        # The library sets its logger to DEBUG, which reaches the application's log whatever level that is set to.
        logging.getLogger("bm25s").setLevel(logging.WARNING)
        tokens = [self._terms(document) for document in self.documents]
        if not any(tokens):
            return None
        index = BM25()
        index.index(tokens, show_progress=False)
        return index

    def _terms(self, text: str) -> list[str]:
        return terms_of(text) if self.parts else words_of(text)

    def scores(self, request: str) -> Tensor:
        """Return each tool's BM25 score for a request, without the weight: (K,) float32."""
        index = self._index
        known = [] if index is None else [term for term in self._terms(request) if term in index.vocab_dict]
        if index is None or not known:
            return torch.zeros(len(self))
        return torch.from_numpy(index.get_scores(known)).float()

    def select(self, rows: Sequence[int]) -> LexicalMatch:
        """Keep the texts of these tools. How rare a word is, is then counted among them alone."""
        return replace(self, documents=tuple(self.documents[row] for row in rows))

    def untrained(self, specs: Sequence[ToolSpec]) -> LexicalMatch:
        """Return this match for other tools, of which only the descriptions are known."""
        return replace(self, documents=tuple(map(description_document, specs)))

    def describe(self, old: Sequence[ToolSpec], new: Sequence[ToolSpec]) -> LexicalMatch:
        """Put the descriptions of `new` in place of those of `old`, tool by tool."""
        changed = []
        for document, before, after in zip(self.documents, old, new, strict=True):
            said = description_document(before)
            rest = document.removeprefix(said)
            changed.append(description_document(after) + rest if document.startswith(said) else document)
        return replace(self, documents=tuple(changed))

    def show(self, requests: Sequence[Sequence[str]]) -> LexicalMatch:
        """Add requests that the tools were demonstrated with, to the texts that are made of demonstrations."""
        if self.kind != "demonstrations":
            return self
        shown = ("\n".join((text, *more)) for text, more in zip(self.documents, requests, strict=True))
        return replace(self, documents=tuple(shown))

    def join(self, other: TextEvidence, weight: float) -> LexicalMatch:
        """Put the texts of two sets of tools together, with a new weight. `other` is of the same kind."""
        assert isinstance(other, LexicalMatch)
        return replace(self, weight=weight, documents=(*self.documents, *other.documents))


@dataclass(frozen=True, eq=False)
class WordClassifier:
    """TF-IDF and a linear classifier over the words of a request.

    A request's features are (1 + ln count) · idf for each known word, scaled to length 1.

    Attributes:
        weight: What a point of the classifier adds to a tool's score.
        vocabulary: V words, as `words_of` gives them.
        idf: (V,), each word's inverse document frequency.
        rows: (V, K): what each word says for each tool. Zero columns for tools that it was not trained on.
        biases: (K,), each tool's intercept.

    Raises:
        ToolkenSetError: Shapes do not agree, a value is not finite, or a word is there twice.
    """

    weight: float
    vocabulary: tuple[str, ...]
    idf: Tensor
    rows: Tensor
    biases: Tensor

    kind: ClassVar[Literal["classifier"]] = "classifier"

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        check_weight(self.weight, self.kind)
        size = len(self.vocabulary)
        if len(set(self.vocabulary)) != size:
            raise ToolkenSetError("the classifier's vocabulary names a word twice")
        for name in ("idf", "rows", "biases"):
            tensor: Tensor = getattr(self, name).detach().to(device="cpu", dtype=torch.float32).contiguous()
            if not bool(torch.isfinite(tensor).all()):
                raise ToolkenSetError(f"the classifier's {name} have a value that is not finite")
            object.__setattr__(self, name, tensor)
        shapes = tuple(self.idf.shape), tuple(self.rows.shape), tuple(self.biases.shape)
        if self.rows.ndim != 2 or shapes != ((size,), (size, self.rows.shape[1]), (self.rows.shape[1],)):
            raise ToolkenSetError(
                f"the classifier has {size} words, idf {shapes[0]}, rows {shapes[1]} and biases {shapes[2]}; they must "
                "be (V,), (V, K) and (K,)"
            )

    def __len__(self) -> int:
        return len(self.biases)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.vocabulary)}

    def scores(self, request: str) -> Tensor:
        """Return each tool's score for a request, without the weight: (K,) float32."""
        counts = Counter(place for word in words_of(request) if (place := self._places.get(word)) is not None)
        if not counts:
            return self.biases.clone()
        places = torch.tensor(list(counts))
        features = torch.tensor([1 + math.log(count) for count in counts.values()]) * self.idf[places]
        scores: Tensor = features / features.norm().clamp_min(1e-12) @ self.rows[places] + self.biases
        return scores

    def select(self, rows: Sequence[int]) -> WordClassifier:
        """Keep the columns of these tools."""
        kept = torch.tensor(rows, dtype=torch.long)
        return replace(self, rows=self.rows[:, kept], biases=self.biases[kept])

    def untrained(self, specs: Sequence[ToolSpec]) -> WordClassifier:
        """Return a classifier of no words for other tools. Its zeros put them at the average of the trained ones."""
        tools = len(specs)
        return WordClassifier(self.weight, (), torch.zeros(0), torch.zeros(0, tools), torch.zeros(tools))

    def describe(self, old: Sequence[ToolSpec], new: Sequence[ToolSpec]) -> WordClassifier:
        """Return the classifier unchanged: descriptions have no part in it."""
        return self

    def show(self, requests: Sequence[Sequence[str]]) -> WordClassifier:
        """Return the classifier unchanged: it is fitted to all requests at once."""
        return self

    def join(self, other: TextEvidence, weight: float) -> WordClassifier:
        """Put two classifiers side by side: each word counts for the tools of the classifier that knows it."""
        assert isinstance(other, WordClassifier)
        new = [place for word, place in other._places.items() if word not in self._places]
        vocabulary = (*self.vocabulary, *(other.vocabulary[place] for place in new))
        place_of = {word: place for place, word in enumerate(vocabulary)}
        rows = torch.zeros(len(vocabulary), len(self) + len(other))
        rows[: len(self.vocabulary), : len(self)] = self.rows
        rows[torch.tensor([place_of[word] for word in other.vocabulary], dtype=torch.long), len(self) :] = other.rows
        return WordClassifier(
            weight=weight,
            vocabulary=vocabulary,
            idf=torch.cat([self.idf, other.idf[torch.tensor(new, dtype=torch.long)]]),
            rows=rows,
            biases=torch.cat([self.biases, other.biases]),
        )


# What says how well a request's text matches each tool.
TextEvidence = LexicalMatch | WordClassifier | EmbeddingMatch


def check_weight(weight: float, kind: str) -> None:
    """Raise a ToolkenSetError if a source's weight is not finite."""
    if not math.isfinite(weight):
        raise ToolkenSetError(f"the weight of the {kind} is {weight}; it must be finite")
