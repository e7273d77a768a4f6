"""What training needs from the LM, computed once (DESIGN §2).

The LM is frozen and a toolken is never fed back as input, so the hidden state h_i and s_i = logsumexp over the word
logits are constants of training. One forward pass over the demonstrations gives them for every supervised position.

Peak memory of the pass, beside the LM's: the features, N (4 d + 32) bytes, or with a folder one batch's rows; the
demonstrations' token ids, 8 bytes a token; one batch's activations (`batch_tokens` tokens); and pieces of 4 MB of word
logits. Measured on 1,600 demonstrations of KAMEL with d=320: 120 MB more than the loaded LM, 41,309 positions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import Reinjection, Style
from langchain_toolken.training.demonstrations.demonstration import Demonstration, DroppedRow
from langchain_toolken.training.features.lm_pass import PassBatch, plan_batches, run_batch
from langchain_toolken.training.features.processes import Processes
from langchain_toolken.training.features.store import (
    MANIFEST,
    FeatureSource,
    FeatureStore,
    FeatureStoreError,
    MappedStates,
)
from langchain_toolken.training.features.supervision import Supervision, fingerprint, supervise

# Hidden states up to so many bytes in float32 stay in memory; more of them are left on disk and read in pieces.
IN_MEMORY_BYTES = 2 << 30
# Hidden states of so many calls are read at once: 134 MB with d=4096.
_CALLS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class Features:
    """The constants of training for N supervised positions; all on the CPU.

    hidden: (N, d) float32, what the output head is applied to. Where it is too large for memory, on disk; so read it as
        `hidden[slice]`, `hidden[indices]` or `hidden[mask]`, a piece at a time, and `hidden.shape`, nothing else.
    word_logsumexp: (N,) float32, logsumexp of the model's own word logits (soft-cap and scales applied).
    word_max: (N,) float32, the largest of them: what a toolken must beat for greedy decoding to call.
    target: (N,) int64, the tool's index, or -1 where the next token is a word.
    target_logit: (N,) float32, that word's own logit; 0 where the target is a tool.
    weight: (N,) float32, importance of a sampled negative. The sum is the number of positions before sampling.
    demonstration: (N,) int64, which of the given demonstrations a position lies in, counted from 0.
    tokens: how many tokens went through the LM. lm_passes: how often each demonstration did: 1, or 0 if all was read
        from a store. seconds: how long it took.
    dropped: demonstrations that fit into no context window, or whose call has no position.
    """

    hidden: Tensor | MappedStates
    word_logsumexp: Tensor
    word_max: Tensor
    target: Tensor
    target_logit: Tensor
    weight: Tensor
    demonstration: Tensor
    dropped: tuple[DroppedRow, ...] = ()
    lm_passes: int = 1
    tokens: int = 0
    seconds: float = 0.0

    def __len__(self) -> int:
        return self.target.shape[0]

    @property
    def tool_positions(self) -> int:
        return int((self.target >= 0).sum())

    @property
    def word_positions(self) -> int:
        """Word positions that were kept by the sampling."""
        return len(self) - self.tool_positions

    def call_states(self, tools: int) -> Tensor:
        """Each tool's mean hidden state at the calls of it, (tools, d) float32; 0 for tools that none calls."""
        calls = (self.target >= 0).nonzero()[:, 0]
        target = self.target[calls]
        sums = torch.zeros(tools, self.hidden.shape[1])
        for part in torch.arange(len(calls)).split(_CALLS_AT_ONCE):
            sums.index_add_(0, target[part], self.hidden[calls[part]])
        return sums / torch.bincount(target, minlength=tools).clamp(min=1)[:, None]

    def subset(self, kept: Tensor) -> Features:
        """The positions in `kept` only: indices, or a (N,) bool mask. What is counted per LM pass stays as it is."""
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

    Which positions are supervised, and what `reinjection`, `negatives_per_demonstration` and `seed` do, is told at
    `supervision.supervise`. 64 word positions cover a typical answer whole and bound what a long plan costs.

    batch_tokens: most tokens, padding counted, that go through the LM at once; a longer demonstration goes alone.
        Batches hold demonstrations of about one length. None: 1,024 on a CPU, where more is slower, else 16,384.
    folder: where the features are kept (`feature_store`), to go on from after a kill and to use again. If they are all
        there, nothing goes through the LM and `lm_passes` is 0. None: they stay in memory or, if the hidden states take
        more than `in_memory_bytes` in float32, in a temporary folder (TMPDIR says where).

    processes: `join_processes()` to share the work with other processes: all of them call this with the same arguments,
        each runs its share of the batches, and all get the whole features, over a folder that all of them must see.
        None: this process works alone.

    Raises DemonstrationError if nothing is left to supervise, ValueError for a bad `negatives_per_demonstration` or
    `batch_tokens`, and FeatureStoreError for a folder that is damaged or holds features of something else.
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
        features = _in_memory(lm, plan_batches(supervisions, batch_tokens), progress)
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
    columns, mapped = store.columns(), store.hidden()
    hidden = mapped.to(torch.float32, copy=True) if fits else MappedStates(mapped, folder=temporary)
    processes.wait()  # a temporary folder goes with the main process's last view of it
    return Features(
        hidden=hidden,
        word_logsumexp=columns["words"][:, 0].contiguous(),
        word_max=columns["words"][:, 1].contiguous(),
        target=columns["target"],
        target_logit=columns["words"][:, 2].contiguous(),
        weight=columns["weight"],
        demonstration=columns["demonstration"],
        dropped=tuple(dropped),
        lm_passes=1 if missing else 0,
        tokens=sum(batches[i].tokens for i in missing),
        seconds=time.perf_counter() - began,
    )


def _in_memory(lm: LanguageModel, batches: Sequence[PassBatch], progress: Progress | None) -> Features:
    rows = batches[-1].rows.stop
    hidden, words = torch.empty(rows, lm.hidden_size), torch.empty(rows, 3)
    total = sum(1 for batch in batches for _ in batch.supervisions)
    done = 0
    for batch in batches:
        hidden[batch.rows], words[batch.rows] = run_batch(lm, batch)
        done += sum(1 for _ in batch.supervisions)
        if progress is not None:
            progress(done, total, "LM pass")
    targets = _targets(batches)
    return Features(
        hidden=hidden,
        word_logsumexp=words[:, 0].contiguous(),
        word_max=words[:, 1].contiguous(),
        target=targets["target"],
        target_logit=words[:, 2].contiguous(),
        weight=targets["weight"],
        demonstration=targets["demonstration"],
        tokens=sum(batch.tokens for batch in batches),
    )


def _run(
    lm: LanguageModel,
    batches: Sequence[PassBatch],
    share: Sequence[int],
    store: FeatureStore,
    progress: Progress | None,
) -> None:
    total = sum(1 for i in share for _ in batches[i].supervisions)
    done = 0
    for i in share:
        store.write(i, *run_batch(lm, batches[i]))
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
    """The store, made or checked by the main process, and the batches that it was laid out in."""
    if processes.main and not (folder / MANIFEST).exists():
        batches = plan_batches(supervisions, batch_tokens)
        FeatureStore.create(
            folder,
            source,
            batch_tokens=batch_tokens,
            hidden_size=hidden_size,
            rows=[0, *(batch.rows.stop for batch in batches)],
            targets=_targets(batches),
            durable=durable,
        )
    elif processes.main:
        FeatureStore.resume(folder, progress=progress)
    processes.wait()
    if not (folder / MANIFEST).exists():
        raise FeatureStoreError(
            f"process {processes.rank} does not see {folder}, which process 0 made: several processes need a features "
            "folder on a file system that all of them see"
        )
    store = FeatureStore.resume(folder, rank=processes.rank, check=False, durable=durable)
    # Before any process adds to it: all of them must deal out the same missing batches.
    processes.wait()
    differences = store.manifest.source.differences(source)
    if differences:
        raise FeatureStoreError(
            f"{folder} holds features of something else: {'; '.join(differences)}. Give another folder, or delete "
            "this one"
        )
    return store, plan_batches(supervisions, store.manifest.batch_tokens)


def _targets(batches: Sequence[PassBatch]) -> dict[str, Tensor]:
    """What is known without the LM, in the order of the rows."""
    every = [one for batch in batches for one in batch.supervisions]
    return {
        "target": torch.tensor([tool for one in every for tool in one.tools], dtype=torch.int64),
        "weight": torch.tensor([weight for one in every for weight in one.weights], dtype=torch.float32),
        "demonstration": torch.tensor([one.demonstration for one in every for _ in one.positions], dtype=torch.int64),
    }


@torch.inference_mode()
def _states_dtype(lm: LanguageModel) -> torch.dtype:
    return lm.hidden_states(torch.zeros(1, 1, dtype=torch.int64, device=lm.device)).dtype
