"""Compute once what training needs from the LM.

The LM is frozen and a toolken is never fed back as input, so the hidden state h_i and s_i = logsumexp over the word
logits are constants of training. One forward pass over the demonstrations gives them for every supervised position.

Peak memory of the pass, in addition to the LM's: the features, N (4 d + 32) bytes, or with a folder the rows of one
batch; 4 d bytes for each demonstration's request; the demonstrations' token ids, 8 bytes per token; the activations of
one batch (`batch_tokens` tokens); and word logits in pieces of 4 MB.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import torch
from torch import Tensor

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.states import shared_beginning
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import Reinjection, Style
from langchain_toolken.training.demonstrations.demonstration import Demonstration, DroppedRow
from langchain_toolken.training.features.lm_pass import (
    PassBatch,
    plan_batches,
    run_batch,
    sequences_of,
    tokens_run,
)
from langchain_toolken.training.features.manifest import MANIFEST, FeatureSource, FeatureStoreError, damaged
from langchain_toolken.training.features.mapped_states import MappedStates
from langchain_toolken.training.features.processes import Processes
from langchain_toolken.training.features.store import FeatureStore, locked
from langchain_toolken.training.features.supervision import Supervision, fingerprint, supervise

# Hidden states of up to this many bytes in float32 stay in memory; larger ones stay on disk and are read in pieces.
IN_MEMORY_BYTES = 2 << 30
# Calls whose hidden states are read at once: 134 MB with d=4096.
_CALLS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class Features:
    """The constants of training for N supervised positions, all on the CPU.

    Attributes:
        hidden: (N, d) float32, the input of the output head. On disk if it is too large for memory. So read it in
            pieces only, as `hidden[slice]`, `hidden[indices]` or `hidden[mask]`, and use nothing else but its `shape`.
        word_logsumexp: (N,) float32, logsumexp of the LM's own word logits (soft-cap and scales applied).
        word_max: (N,) float32, the largest word logit, which a toolken must beat for greedy decoding to call.
        target: (N,) int64, the tool's index, or -1 if the next token is a word.
        target_logit: (N,) float32, the logit of that word; 0 if the target is a tool.
        weight: (N,) float32, importance weight of a sampled word position, 1 for calls. The weights add up to the
            number of positions before sampling.
        demonstration: (N,) int64, index of the demonstration that the position is in, counted from 0.
        requests: (D, d) float32, each demonstration's mean hidden state over its request, by its index; zeros for those
            that are not used. None if they are too large for memory, or not known.
        dropped: Demonstrations that don't fit into the context, or whose call has no position.
        lm_passes: How often each demonstration went through the LM: 1, or 0 if everything was read from a folder.
        tokens: Number of tokens that went through the LM.
        seconds: Duration.
    """

    hidden: Tensor | MappedStates
    word_logsumexp: Tensor
    word_max: Tensor
    target: Tensor
    target_logit: Tensor
    weight: Tensor
    demonstration: Tensor
    requests: Tensor | None = None
    dropped: tuple[DroppedRow, ...] = ()
    lm_passes: int = 1
    tokens: int = 0
    seconds: float = 0.0

    @classmethod
    def from_columns(cls, hidden: Tensor | MappedStates, columns: Mapping[str, Tensor], **facts: Any) -> Self:
        """Build features of hidden states and small columns.

        Args:
            hidden: (N, d), the hidden states.
            columns: The columns target, weight and demonstration, (N,) each, and words, (N, 3) as `run_batch` gives it.
            **facts: `requests`, `dropped`, `lm_passes`, `tokens` and `seconds`.
        """
        words = columns["words"]
        return cls(
            hidden=hidden,
            word_logsumexp=words[:, 0].contiguous(),
            word_max=words[:, 1].contiguous(),
            target=columns["target"],
            target_logit=words[:, 2].contiguous(),
            weight=columns["weight"],
            demonstration=columns["demonstration"],
            **facts,
        )

    def __len__(self) -> int:
        return self.target.shape[0]

    @property
    def tool_positions(self) -> int:
        """Number of positions that call a tool."""
        return int((self.target >= 0).sum())

    @property
    def word_positions(self) -> int:
        """Number of positions that a word follows, after sampling."""
        return len(self) - self.tool_positions

    def call_states(self, tools: int) -> Tensor:
        """Return each tool's mean hidden state at its calls, (tools, d) float32; 0 for tools without calls."""
        calls = (self.target >= 0).nonzero()[:, 0]
        target = self.target[calls]
        sums = torch.zeros(tools, self.hidden.shape[1])
        for part in torch.arange(len(calls)).split(_CALLS_AT_ONCE):
            sums.index_add_(0, target[part], self.hidden[calls[part]])
        return sums / torch.bincount(target, minlength=tools).clamp(min=1)[:, None]

    def subset(self, kept: Tensor) -> Features:
        """Return only the positions `kept`, given as indices or a (N,) bool mask.

        Facts about the LM pass (`lm_passes`, `tokens`, `seconds`, `dropped`) stay the same.
        """
        return replace(
            self,
            hidden=self.hidden.subset(kept) if isinstance(self.hidden, MappedStates) else self.hidden[kept],
            word_logsumexp=self.word_logsumexp[kept],
            word_max=self.word_max[kept],
            target=self.target[kept],
            target_logit=self.target_logit[kept],
            weight=self.weight[kept],
            demonstration=self.demonstration[kept],
        )


def compute_features(
    lm: LanguageModel,
    demonstrations: Sequence[Demonstration],
    tool_names: Sequence[str],
    style: Style,
    *,
    reinjection: Reinjection | None = None,
    negatives_per_demonstration: int | None = 64,
    batch_tokens: int | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    in_memory_bytes: int = IN_MEMORY_BYTES,
    processes: Processes | None = None,
    progress: Progress | None = None,
) -> Features:
    """Run each demonstration through the LM once and keep what training needs.

    Args:
        lm: The LM.
        demonstrations: The demonstrations.
        tool_names: The tools; `Features.target` holds indices into them.
        style: How the demonstrations are laid out.
        reinjection: Where tool results are in chat histories; see `layout.render_answer`.
        negatives_per_demonstration: Most word positions kept per demonstration (`supervision.supervise`). 64 cover a
            typical answer whole and limit the cost of a long one. None: all.
        batch_tokens: Most tokens per batch of the LM pass, padding included; a longer demonstration is a batch of its
            own. Batches hold demonstrations of similar length. None: 1,024 on a CPU, where more is slower, else 16,384.
        seed: Draws the word positions.
        folder: Keep the features in this folder (`store`), to resume after a kill and to use them again. If it has all
            of them, the LM doesn't run and `lm_passes` is 0. None: they stay in memory or, if the hidden states take
            more than `in_memory_bytes`, in a temporary folder (see TMPDIR).
        in_memory_bytes: Most bytes that the hidden states may take in memory, as float32.
        processes: `join_processes()`, to share the work with other processes. All of them make the same call, each runs
            its share of the batches, and all get the whole features through a folder that all of them must see. None:
            this process works alone.
        progress: Called with (done, total, what).

    Returns:
        The features. Positions are in the order of the batches, not of the demonstrations.

    Raises:
        DemonstrationError: There is nothing to supervise.
        ValueError: `negatives_per_demonstration` or `batch_tokens` is below 1.
        FeatureStoreError: The folder is damaged or holds features of something else.
        WriteError: A file of the folder can't be written. What was written stays, and the same call goes on from there.

    Warns:
        FeatureStoreWarning: Another process is computing the features in the folder. This one waits until it is done,
            and then takes them from there.
    """
    if batch_tokens is not None and batch_tokens < 1:
        raise ValueError(f"batch_tokens is {batch_tokens}; it must be at least 1, or None for the default")
    began = time.perf_counter()
    processes = processes or Processes()
    progress = progress if processes.main else None
    supervisions, dropped = supervise(
        lm,
        demonstrations,
        tool_names,
        style,
        reinjection=reinjection,
        negatives_per_demonstration=negatives_per_demonstration,
        seed=seed,
        progress=progress,
    )
    if batch_tokens is None:
        batch_tokens = 1024 if lm.device.type == "cpu" else 16384
    fits = sum(len(one.positions) for one in supervisions) * lm.hidden_size * 4 <= in_memory_bytes
    if folder is None and fits and processes.count == 1:
        features = _in_memory(lm, plan_batches(supervisions, batch_tokens), len(demonstrations), progress)
        return replace(features, dropped=tuple(dropped), seconds=time.perf_counter() - began)

    temporary = TemporaryDirectory(prefix="toolken-features-") if folder is None and processes.main else None
    place = Path(processes.broadcast(str(temporary.name if temporary is not None else folder).encode()).decode())
    source = FeatureSource(
        model=lm.model_id,
        head_fingerprint=lm.head_fingerprint,
        weights_fingerprint=lm.weights_fingerprint,
        tokenizer_fingerprint=lm.tokenizer_fingerprint,
        dtype=str(_states_dtype(lm)).removeprefix("torch."),
        tools=len(tool_names),
        style=style,
        reinjection=reinjection,
        negatives_per_demonstration=negatives_per_demonstration,
        seed=seed,
        demonstrations=fingerprint(supervisions),
    )
    with locked(place) if processes.main else nullcontext(True) as alone:
        store, batches = _opened(
            place,
            source,
            supervisions,
            batch_tokens,
            lm.hidden_size,
            processes=processes,
            durable=folder is not None,
            progress=progress,
        )
        missing = [i for i in range(len(batches)) if i not in store.done]
        _run(lm, batches, missing[processes.rank :: processes.count], store, progress)
        processes.wait()
        if not alone:  # another process may have written here too
            FeatureStore.resume(place, progress=progress)
        columns, mapped = store.columns(), store.hidden()
        small = len(demonstrations) * lm.hidden_size * 4 <= IN_MEMORY_BYTES
        requests = _by_demonstration(batches, store.requests(), len(demonstrations)) if small else None
        hidden = mapped.to(torch.float32, copy=True) if fits else MappedStates(mapped, folder=temporary)
        processes.wait()  # the main process deletes a temporary folder with its last view of it
    return Features.from_columns(
        hidden,
        columns,
        requests=requests,
        dropped=tuple(dropped),
        lm_passes=1 if missing else 0,
        tokens=tokens_run(lm, batches, missing),
        seconds=time.perf_counter() - began,
    )


def _in_memory(
    lm: LanguageModel, batches: Sequence[PassBatch], demonstrations: int, progress: Progress | None
) -> Features:
    rows = batches[-1].rows.stop
    hidden, words = torch.empty(rows, lm.hidden_size), torch.empty(rows, 3)
    total = sum(1 for batch in batches for _ in batch.supervisions)
    done = 0
    asked: list[Tensor] = []
    shared = shared_beginning(lm, sequences_of(batches))
    for batch in batches:
        hidden[batch.rows], words[batch.rows], means = run_batch(lm, batch, shared)
        asked.append(means)
        done += sum(1 for _ in batch.supervisions)
        if progress is not None:
            progress(done, total, "LM pass")
    tokens = tokens_run(lm, batches, range(len(batches)))
    requests = _by_demonstration(batches, torch.cat(asked), demonstrations)
    return Features.from_columns(hidden, {**_targets(batches), "words": words}, requests=requests, tokens=tokens)


def _by_demonstration(batches: Sequence[PassBatch], means: Tensor, demonstrations: int) -> Tensor:
    """Put the requests' mean states, which are in the order of the batches, in that of the demonstrations."""
    found = torch.zeros(demonstrations, means.shape[1])
    order = torch.tensor([one.demonstration for batch in batches for one in batch.supervisions])
    found[order] = means.float()
    return found


def _run(
    lm: LanguageModel,
    batches: Sequence[PassBatch],
    share: Sequence[int],
    store: FeatureStore,
    progress: Progress | None,
) -> None:
    if not share:
        return
    total = sum(1 for i in share for _ in batches[i].supervisions)
    done = 0
    # Of all batches, so that each gives the same numbers whichever are missing.
    shared = shared_beginning(lm, sequences_of(batches))
    for i in share:
        store.write(i, *run_batch(lm, batches[i], shared))
        done += sum(1 for _ in batches[i].supervisions)
        if progress is not None:
            progress(done, total, "LM pass")


def _opened(
    folder: Path,
    source: FeatureSource,
    supervisions: Sequence[Supervision],
    batch_tokens: int,
    hidden_size: int,
    *,
    processes: Processes,
    durable: bool,
    progress: Progress | None,
) -> tuple[FeatureStore, list[PassBatch]]:
    """Open the store, which the main process creates or checks; return it and the batches it is laid out in."""
    if processes.main and not (folder / MANIFEST).exists():
        batches = plan_batches(supervisions, batch_tokens)
        FeatureStore.create(
            folder,
            source,
            batch_tokens=batch_tokens,
            hidden_size=hidden_size,
            rows=[0, *(batch.rows.stop for batch in batches)],
            requests=[0, *accumulate(sum(1 for _ in batch.supervisions) for batch in batches)],
            targets=_targets(batches),
            durable=durable,
        )
    elif processes.main:
        FeatureStore.resume(folder, progress=progress)
    processes.wait()
    if not (folder / MANIFEST).exists():
        raise FeatureStoreError(
            f"process {processes.rank} does not see {folder}, which process 0 created: several processes need a "
            "features folder on a file system that all of them see"
        )
    store = FeatureStore.resume(folder, rank=processes.rank, check=False, durable=durable)
    # No process may write before all have opened the store: they must agree on which batches are missing.
    processes.wait()
    differences = store.manifest.source.differences(source)
    if differences:
        raise FeatureStoreError(
            f"{folder} holds features of something else: {'; '.join(differences)}. Give another folder, or delete "
            "this one"
        )
    batches = plan_batches(supervisions, store.manifest.batch_tokens)
    if (0, *(batch.rows.stop for batch in batches)) != store.manifest.rows or hidden_size != store.manifest.hidden_size:
        raise damaged(folder, f"{MANIFEST} was changed, or another version wrote it")
    return store, batches


def _targets(batches: Sequence[PassBatch]) -> dict[str, Tensor]:
    """Return the columns that don't need the LM, in the order of the rows."""
    every = [one for batch in batches for one in batch.supervisions]
    return {
        "target": torch.tensor([tool for one in every for tool in one.tools], dtype=torch.int64),
        "weight": torch.tensor([weight for one in every for weight in one.weights], dtype=torch.float32),
        "demonstration": torch.tensor([one.demonstration for one in every for _ in one.positions], dtype=torch.int64),
    }


@torch.inference_mode()
def _states_dtype(lm: LanguageModel) -> torch.dtype:
    return lm.hidden_states(torch.zeros(1, 1, dtype=torch.int64, device=lm.device)).dtype
