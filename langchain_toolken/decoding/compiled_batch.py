"""Decoding through `torch.compile`: `CompiledStep` runs one token of every row in a compiled graph over static tensors,
`CompiledBatch` is the batch whose rows it decodes (`Batch` reads their prompts).

A graph is compiled per batch size (1, 2, 4, 8, …; free slots are run along) and per length (512, 1024, … tokens, at
most the context), when rows first need it, so that their number is bounded however prompts and callers vary.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor
from torch.torch_version import TorchVersion
from transformers import DynamicCache

from langchain_toolken.decoding.batch import Batch, Row
from langchain_toolken.decoding.lm import LanguageModel, UnsupportedModelError
from langchain_toolken.decoding.probe import TOLERANCES, difference
from langchain_toolken.decoding.static_slots import Slots, slot_cache, slot_masks, states_of

Backend = str | Callable[..., Any]

_FLAG = "compile_decoding"
_NEEDS_TORCH = "2.13"  # has recompile limits per function, and CUDA graphs in any thread; older ones were not tried
_ATTENTION = ("sdpa", "eager")  # others take no mask of a static shape
_MOST_GRAPHS = 256
_CHECKED = ((1, 5, 9, 2, 7, 11, 3, 8, 6, 4), (1, 3, 5))  # two rows of unequal length, as multiples of a stride


class CompiledStep:
    """An LM's one-token step, compiled.

    It runs in a thread of its own, since CUDA graphs belong to the thread that recorded them and the scheduler's ends
    when it is idle.

    Args:
        lm: what is compiled. Its prompts, and all passes that are not of one token a row, run as they are.
        backend: of `torch.compile`. "inductor" (the default) runs on a GPU with CUDA graphs (mode "reduce-overhead", as
            transformers' own `generate` compiles); on a CPU it needs a C++ compiler. "eager" compiles nothing, to look
            for errors.
        shortest: columns of the shortest slots. 512 holds most conversations without tools in the prompt; shorter ones
            would be more graphs, longer ones more columns to attend to.

    Raises:
        UnsupportedModelError: the LM cannot be compiled, or gives other logits when it is (checked here on two rows of
            unequal length, which compiles the first graph); the message says why.
        ValueError: torch is older than 2.13.
    """

    def __init__(self, lm: LanguageModel, *, backend: Backend = "inductor", shortest: int = 512) -> None:
        if TorchVersion(torch.__version__) < _NEEDS_TORCH:
            raise ValueError(
                f"{_FLAG} needs torch {_NEEDS_TORCH} or later, this is {torch.__version__}; upgrade, or leave it off"
            )
        self.lm = lm
        self.shortest = shortest
        self._thread = _OwnThread()
        compile_: Any = torch.compile  # whose overloads leave out two arguments
        self._step: Callable[..., Tensor] = compile_(
            _one_token(lm),
            backend=backend,
            mode="reduce-overhead" if backend == "inductor" else None,
            fullgraph=True,
            dynamic=False,
            recompile_limit=_MOST_GRAPHS,
            isolate_recompiles=True,
        )
        self._check()

    def columns(self, tokens: int) -> int:
        """How long slots for so many tokens are: the next power of two, within `shortest` and the context."""
        return min(max(self.shortest, _power_of_two(tokens)), self.lm.context_length)

    def __call__(self, tokens: Sequence[int], positions: Sequence[int], slots: Slots) -> Tensor:
        """Run each row's next token, which goes into its slot.

        Args:
            tokens: of the rows in slots 0, 1, ….
            positions: how many tokens are in each row's slot.
            slots: with room for a power of two of rows.

        Returns:
            (rows, d): the last hidden states.

        Raises:
            RuntimeError: a graph for this size cannot be compiled; the message names the flag.
        """
        rows = _power_of_two(len(tokens))
        free = [0] * (rows - len(tokens))
        inputs = torch.tensor([[*tokens, *free], [*positions, *free]], device=self.lm.device)[:, :, None]
        try:
            return self._thread.run(self._step, inputs, slots.first(rows))[: len(tokens)]
        except (torch._dynamo.exc.TorchDynamoException, torch._dynamo.exc.FailOnRecompileLimitHit) as error:
            raise RuntimeError(
                f"{_FLAG}: torch.compile failed on {self.lm.model_id} for {rows} rows of {slots.columns} tokens. "
                f"Leave {_FLAG} off. Reason: {_reason(error)}"
            ) from error

    def _check(self) -> None:
        """Refuse an LM whose compiled logits are not those of its plain passes."""
        lm = self.lm
        name = f"{lm.model_id} ({type(lm.model).__name__})"
        if reason := _unfit(lm.model):
            raise UnsupportedModelError(f"{name} cannot be decoded with {_FLAG}: {reason}; or leave it off")
        stride = max(1, (lm.vocab_size - 1) // 16)
        rows = [Row([1 + i * stride for i in ids]) for ids in _CHECKED]
        try:
            with torch.inference_mode():
                batch = CompiledBatch(self)
                prompts = Batch(lm, rows)
                prompts.start()
                batch.join(prompts)
                for row in rows:
                    row.ids += row.ids[:2]
                _, hidden = batch.step()
                ours = lm.head.word_logits(hidden)
                plain = [lm.hidden_states(torch.tensor([row.ids], device=lm.device))[:, -1] for row in rows]
                own = lm.head.word_logits(torch.cat(plain))
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            raise UnsupportedModelError(
                f"{name} cannot be decoded with {_FLAG}: its one-token step cannot be compiled over a static cache. "
                f"Leave {_FLAG} off. Reason: {_reason(error.__cause__ or error)}"
            ) from error
        tolerance = 10 * TOLERANCES.get(lm.head.weight.dtype, max(TOLERANCES.values()))
        if different := difference(ours, own, tolerance):
            raise UnsupportedModelError(
                f"{name} cannot be decoded with {_FLAG}: over a static cache it gives other logits ({different}), as "
                f"models do whose attention counts the cache's columns. Leave {_FLAG} off"
            )


class CompiledBatch:
    """Rows that are decoded in slots, the row at `rows[i]` in slot i. The same methods as `Batch`'s, but for `start`.

    The slots of every length that was needed are kept, for their addresses are in the CUDA graphs: together at most
    twice the longest, each with a power of two of slots. A new batch has none.
    """

    def __init__(self, step: CompiledStep) -> None:
        self.rows: list[Row] = []
        self._step = step
        self._of_length: dict[int, Slots] = {}
        self._slots: Slots | None = None  # where the rows are; None without rows

    def step(self) -> tuple[list[Row], Tensor]:
        """Run as many tokens as the row with the fewest has, one after the other. Gives the rows that have none left,
        and their last hidden states (n, d)."""
        slots = self._room(len(self.rows), max(row.fed for row in self.rows) + min(row.pending for row in self.rows))
        for _ in range(min(row.pending for row in self.rows)):
            hidden = self._step([row.ids[row.fed] for row in self.rows], [row.fed for row in self.rows], slots)
            for row in self.rows:
                row.fed += 1
        due = [index for index, row in enumerate(self.rows) if not row.pending]
        return [self.rows[index] for index in due], hidden if len(due) == len(self.rows) else hidden[due]

    def join(self, other: Batch) -> None:
        """Take over the rows of a batch that has read their prompts, and is not to be used any more."""
        if not other.rows:
            return
        rows = [*self.rows, *other.rows]
        slots = self._room(len(rows), max(row.fed for row in rows) + 1, like=other.cache)
        for index, row in enumerate(other.rows):
            slots.write(len(self.rows) + index, states_of(other.cache, index, row.fed))
        self.rows = rows

    def cache_of(self, row: Row) -> DynamicCache:
        """The cache of one row; a copy."""
        assert self._slots is not None
        return self._slots.cache_of(self.rows.index(row), row.fed)

    def drop(self, rows: Collection[Row]) -> None:
        """Let rows go; the last ones take their slots."""
        for slot in reversed([index for index, row in enumerate(self.rows) if row in rows]):
            last = self.rows.pop()
            if slot < len(self.rows):
                assert self._slots is not None
                self._slots.write(slot, self._slots.read(len(self.rows), last.fed))
                self.rows[slot] = last
        if not self.rows:
            self._slots = None

    def _room(self, rows: int, tokens: int, like: DynamicCache | None = None) -> Slots:
        """The slots of the present rows, moved if others fit their length now, with room for `rows` in all."""
        present = self._slots
        columns = self._step.columns(tokens)
        slots = self._of_length.get(columns)
        if slots is None:
            like = like if present is None else present.like
            assert like is not None
            slots = self._of_length[columns] = Slots(like, columns)
        slots.reserve(_power_of_two(rows))
        if present is not None and present is not slots:
            for slot, row in enumerate(self.rows):
                slots.write(slot, present.read(slot, row.fed))
        self._slots = slots
        return slots


def _one_token(lm: LanguageModel) -> Callable[[Tensor, list[tuple[Tensor, Tensor] | None]], Tensor]:
    model: Any = lm.model
    decoder, config, dtype = model.get_decoder(), model.config, model.dtype

    def one_token(inputs: Tensor, layers: list[tuple[Tensor, Tensor] | None]) -> Tensor:
        """`inputs` (2, rows, 1): tokens and positions. Gives (rows, d)."""
        ids, positions = inputs[0], inputs[1]
        cache = slot_cache(layers, positions)
        masks = slot_masks(config, cache, positions, dtype)
        output = decoder(
            input_ids=ids, attention_mask=masks, position_ids=positions, past_key_values=cache, use_cache=True
        )
        hidden: Tensor = output.last_hidden_state[:, -1]
        return hidden

    return one_token


class _OwnThread:
    """Runs compiled steps in one thread, which lasts as long as this object. Not an executor's: those refuse work once
    the main thread has ended, though others may go on."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Future[Tensor], Callable[..., Tensor], tuple[Any, ...]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        weakref.finalize(self, self._jobs.put, None)

    def run(self, step: Callable[..., Tensor], *args: Any) -> Tensor:
        """A copy of what the step gives: a CUDA graph writes its next result over this one."""
        if self._thread is None or not self._thread.is_alive():  # a fork has the object and not the thread
            self._thread = threading.Thread(target=_serve, args=(self._jobs,), name="toolken-compiled", daemon=True)
            self._thread.start()
        done: Future[Tensor] = Future()
        self._jobs.put((done, step, args))
        return done.result()


@torch.inference_mode()
def _serve(jobs: SimpleQueue[Any]) -> None:
    while job := jobs.get():
        done, step, args = job
        try:
            done.set_result(step(*args).clone())
        except BaseException as error:  # noqa: BLE001 - handed to the caller, who would wait for ever
            done.set_exception(error)
        del job, done, step, args  # or they would be held until the next one


def _unfit(model: Any) -> str:
    """Why a model cannot be compiled, as far as that can be said before it is tried, and what to do."""
    attention = model.config.get_text_config()._attn_implementation
    if attention not in _ATTENTION:
        return f'its attention is {attention!r}; load it with model_kwargs={{"attn_implementation": "sdpa"}}'
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None and not quantizer.is_compileable:
        return f"{type(quantizer).__name__}'s weights cannot be compiled; load it without quantization_config"
    places = {str(place) for place in getattr(model, "hf_device_map", {}).values()}
    if "disk" in places or ("cpu" in places and len(places) > 1):
        return "a part of it is offloaded to the CPU or a disk; give a device_map that keeps it on devices"
    return ""


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _reason(error: BaseException) -> str:
    """An error in a few lines; Dynamo's go on for pages, and hide what was raised in the model."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    hidden = [line for line in lines[2:] if line.startswith("Developer debug context:")]
    return f"{type(error).__name__}: {' '.join([*lines[:2], *hidden[:1]])}"
