"""`LlamaCppModel`: a `LanguageModel` in a GGUF file, run by llama.cpp."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from langchain_toolken.lm.head import LogitTransform, ToolkenHead, WordLogits
from langchain_toolken.lm.identity import Backend, LMIdentity, head_fingerprint, tokenizer_fingerprint
from langchain_toolken.lm.llama_cpp.gguf_file import GgufFile
from langchain_toolken.lm.llama_cpp.inner_layers import InnerLayers
from langchain_toolken.lm.llama_cpp.library import Context, library, load_weights
from langchain_toolken.lm.llama_cpp.settings import LlamaCppSettings
from langchain_toolken.lm.model import UnsupportedModelError
from langchain_toolken.lm.prefix import common_prefix
from langchain_toolken.lm.sketch import sketch_of, sketched_ids

_SPACE = "▁"
_READ = 512  # tokens that a context for reading has at least; most demonstrations are shorter


class LlamaCppModel:
    """A frozen LM in a GGUF file, run by llama.cpp with its weights as they are packed.

    llama.cpp gives the word logits and the final hidden state of a token in one pass. The head's rows are unpacked only
    where they are asked for: by priors and reports, not while the LM writes.

    Args:
        path: The file.
        name: What it was named by.
        tokenizer: Its tokenizer in transformers, which prompts are rendered with.
        settings: How it runs.

    Attributes:
        tokenizer: As given.
        settings: As given.
        model_id: The name.

    Raises:
        UnsupportedModelError: llama.cpp can't load the file, or its vocabulary is not the tokenizer's.
    """

    def __init__(self, path: Path, name: str, tokenizer: PreTrainedTokenizerBase, settings: LlamaCppSettings) -> None:
        self.tokenizer = tokenizer
        self.settings = settings
        self.model_id = name
        self._file = GgufFile(path)
        self._weights = load_weights(path, settings)
        self._lock = threading.Lock()
        self._reader: Context | None = None
        self._inner = InnerLayers(self._weights, settings, self.hidden_size)
        self._check_vocabulary()

    @property
    def revision(self) -> str | None:
        """None: files have no revisions."""
        return None

    @property
    def backend(self) -> Backend:
        """llama.cpp."""
        return "llama_cpp"

    @cached_property
    def sketch(self) -> tuple[float, ...]:
        """See `lm.sketch`."""
        ids = sketched_ids(self.vocab_size)[0].tolist()
        states, _ = self.context(1, cells=256).states([(0, ids, 0)])
        return sketch_of(states)

    @property
    def device(self) -> torch.device:
        """The CPU: token ids go in there, and states come out there, wherever llama.cpp computes them."""
        return torch.device("cpu")

    @property
    def head_device(self) -> torch.device:
        """The CPU."""
        return self.device

    @cached_property
    def hidden_size(self) -> int:
        """The hidden size d."""
        return int(library().llama_model_n_embd_out(self._weights.pointer))

    @cached_property
    def vocab_size(self) -> int:
        """V, the number of rows of the output head."""
        return int(library().llama_vocab_n_tokens(self._weights.vocab))

    @cached_property
    def context_length(self) -> int:
        """The most tokens that a text may have: what the LM was made for, or what fits into its context here."""
        made_for = int(library().llama_model_n_ctx_train(self._weights.pointer))
        return min(made_for, self.settings.cells(made_for))

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end a text: those that llama.cpp takes for an end of generation, and the tokenizer's."""
        api, vocab = library(), self._weights.vocab
        ids = {token for token in range(self.vocab_size) if api.llama_vocab_is_eog(vocab, token)}
        return frozenset(ids | ({self.tokenizer.eos_token_id} - {None}))

    @property
    def identity(self) -> LMIdentity:
        """Which LM this is; the same as that of the file unpacked in transformers."""
        return LMIdentity(self.model_id, None, self.head_fingerprint, self.tokenizer_fingerprint, self.hidden_size)

    @cached_property
    def head_fingerprint(self) -> str:
        """See `lm.identity.head_fingerprint`."""
        return head_fingerprint((self.vocab_size, self.hidden_size), self.transform, self.head_rows)

    @cached_property
    def tokenizer_fingerprint(self) -> str:
        """See `lm.identity.tokenizer_fingerprint`."""
        return tokenizer_fingerprint(self.tokenizer)

    @property
    def weights_fingerprint(self) -> str:
        """Tells these weights, in llama.cpp, from all others."""
        return f"llama.cpp {self._file.fingerprint}"

    @cached_property
    def head(self) -> ToolkenHead:
        """The output head, unpacked to float32."""
        words = nn.Linear(self.hidden_size, self.vocab_size, bias=False, device="meta")
        words.weight = nn.Parameter(self._file.head_rows(), requires_grad=False)
        return ToolkenHead(words, self.transform)

    @cached_property
    def input_embeddings(self) -> Tensor:
        """The rows (V, d) of the input embeddings, unpacked to float32."""
        return self._file.embedding_rows()

    @property
    def transform(self) -> LogitTransform:
        """What the LM does to its word logits after the head."""
        return self._file.transform

    def head_rows(self, words: list[int]) -> Tensor:
        """Return some words' rows (n, d) of the output head, float32."""
        return self._file.head_rows(words)

    def context(self, sequences: int, cells: int | None = None) -> Context:
        """Make a context for up to `sequences` sequences.

        Args:
            sequences: How many.
            cells: How many tokens they may have together; None takes the settings' number.

        Raises:
            UnsupportedModelError: There is not enough memory.
        """
        made_for = int(library().llama_model_n_ctx_train(self._weights.pointer))
        return Context(self._weights, self.settings, cells or self.settings.cells(made_for), sequences)

    def hidden_states(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Run texts; see `LanguageModel.hidden_states`."""
        states = torch.zeros(*input_ids.shape, self.hidden_size)
        real = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        places = [of_row.nonzero()[:, 0] for of_row in real]
        texts = [ids[of_row].tolist() for ids, of_row in zip(input_ids, places, strict=True)]
        for row, start, found, _ in self._run(texts, [len(text) for text in texts]):
            states[row, places[row][start : start + len(found)]] = found
        return states

    @cached_property
    def has_inner_states(self) -> bool:
        """Whether llama.cpp names this LM's layers in the way that nearly all of its architectures are written."""
        return self._inner.states([0], 0) is not None

    def inner_states(self, input_ids: Tensor, depth: float) -> Tensor:
        """Run texts through a part of the layers; see `LanguageModel.inner_states`."""
        layers = int(library().llama_model_n_layer(self._weights.pointer))
        layer = max(1, min(round(depth * layers), layers)) - 1
        found = [self._inner.states(ids, layer) for ids in input_ids.tolist()]
        states = [one for one in found if one is not None]
        if len(states) < len(found):
            raise UnsupportedModelError(f"{self.model_id}: llama.cpp gives no states inside of this LM, only the last")
        return torch.stack(states)

    def read(self, input_ids: Tensor, at: Sequence[tuple[int, int]], following: Tensor) -> tuple[Tensor, Tensor]:
        """Run texts and describe the word logits at some of their places; see `LanguageModel.read`."""
        states = torch.zeros(*input_ids.shape, self.hidden_size)
        words = WordLogits(following)
        wanted: list[list[tuple[int, int]]] = [[] for _ in input_ids]
        for place, (row, position) in enumerate(at):
            wanted[row].append((place, position))
        first = [min((position for _, position in own), default=input_ids.shape[1]) for own in wanted]
        for row, start, found, logits in self._run(input_ids.tolist(), first):
            stop = start + len(found)
            states[row, start:stop] = found
            if here := [(place, position - start) for place, position in wanted[row] if start <= position < stop]:
                assert logits is not None
                places, positions = zip(*here, strict=True)
                words.put(places, logits[list(positions)])
        return states, words.summary

    def _run(
        self, texts: Sequence[list[int]], logits_from: Sequence[int]
    ) -> Iterator[tuple[int, int, Tensor, Tensor | None]]:
        """Run texts one by one; what a text begins with as the one before it did is not run again.

        Args:
            texts: Token ids of each.
            logits_from: From which token of each text on word logits are wanted.

        Yields:
            The states of each text part by part: the text's number, where the part starts, its states, and its word
            logits; None where none are wanted.
        """
        read, states = list[int](), torch.empty(0, self.hidden_size)
        with self._reading(max(map(len, texts), default=1)) as context:
            for number, (ids, wanted) in enumerate(zip(texts, logits_from, strict=True)):
                shared = min(common_prefix(ids, read), wanted, max(0, len(ids) - 1))
                context.crop(0, shared)
                states = states[:shared]
                if shared:
                    yield number, 0, states, None
                for start in range(shared, len(ids), context.most_states):
                    part, logits = context.states([(0, ids[start : start + context.most_states], start)])
                    states = torch.cat([states, part])  # a copy: the part is valid until the next call only
                    yield number, start, part, logits
                read = ids

    @contextmanager
    def _reading(self, length: int) -> Iterator[Context]:
        """Return a context for texts of up to `length` tokens; others wait for it."""
        with self._lock:
            if self._reader is None or self._reader.cells < length:
                self._reader = None  # frees its memory first
                self._reader = self.context(1, cells=max(_READ, 1 << (length - 1).bit_length()))
            context = self._reader
            try:
                yield context
            finally:
                context.crop(0, 0)

    def _check_vocabulary(self) -> None:
        """Raise an UnsupportedModelError if an id means one word in llama.cpp and another in the tokenizer."""
        api, vocab = library(), self._weights.vocab
        known = min(len(self.tokenizer), self.vocab_size)
        own: Any = self.tokenizer.convert_ids_to_tokens(list(range(known)))
        for token, text in enumerate(own):
            other = api.llama_vocab_get_text(vocab, token).decode(errors="replace")
            # Files of Gemma hold some runs of spaces as such, and others as SentencePiece writes them.
            if text is not None and other.replace(" ", _SPACE) != text.replace(" ", _SPACE):
                raise UnsupportedModelError(
                    f"{self.model_id}: its token {token} is {other!r}, but {text!r} in the tokenizer. Give the "
                    "tokenizer that the LM was made with (model_kwargs={'tokenizer': …})"
                )
