"""What training needs from the LM, computed once (DESIGN §2).

The LM is frozen and a toolken is never fed back as input, so the hidden state h_i and s_i = logsumexp over the word
logits are constants of training. One forward pass over the demonstrations gives them for every supervised position.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from langchain_toolken.decoding.lm import LanguageModel
from langchain_toolken.prompts.demonstrations import RenderedDemonstration, render_answer, render_demonstration
from langchain_toolken.prompts.format import Reinjection, Style
from langchain_toolken.training.demonstrations import Demonstration, DemonstrationError, DroppedRow, result_end

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what is being done); the CLI draws it as a bar."""

# How many word logits are alive at once (64 MB in float32): vocabularies go from 6,000 to 256,000, so elements count.
_LOGIT_ELEMENTS = 1 << 24


@dataclass(frozen=True, eq=False)
class Features:
    """The constants of training for N supervised positions; all on the CPU.

    hidden: (N, d) float32, what the output head is applied to.
    word_logsumexp: (N,) float32, logsumexp of the model's own word logits (soft-cap and scales applied).
    word_max: (N,) float32, the largest of them: what a toolken must beat for greedy decoding to call.
    target: (N,) int64, the tool's index, or -1 where the next token is a word.
    target_logit: (N,) float32, that word's own logit; 0 where the target is a tool.
    weight: (N,) float32, importance of a sampled negative. The sum is the number of positions before sampling.
    demonstration: (N,) int64, which of the given demonstrations a position lies in, counted from 0.
    tokens: how many tokens went through the LM. lm_passes: how often each demonstration did. seconds: how long it took.
    dropped: demonstrations that fit into no context window, or whose call has no position.
    """

    hidden: Tensor
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
        sums = torch.zeros(tools, self.hidden.shape[1]).index_add_(0, target, self.hidden[calls])
        return sums / torch.bincount(target, minlength=tools).clamp(min=1)[:, None]

    def rows(self, kept: Tensor) -> Features:
        """The positions in `kept` only: indices, or a (N,) bool mask. What is counted per LM pass stays as it is."""
        return replace(
            self,
            hidden=self.hidden[kept],
            word_logsumexp=self.word_logsumexp[kept],
            word_max=self.word_max[kept],
            target=self.target[kept],
            target_logit=self.target_logit[kept],
            weight=self.weight[kept],
            demonstration=self.demonstration[kept],
        )


@dataclass(frozen=True)
class _Supervision:
    """One tokenised demonstration, by its index: `ids` are the LM's input, the rest what to gather (equal lengths)."""

    demonstration: int
    ids: list[int]
    positions: list[int]
    tools: list[int]  # -1: a word
    words: list[int]  # the next token; 0 for tools
    weights: list[float]


@torch.inference_mode()
def compute_features(
    lm: LanguageModel,
    demonstrations: Sequence[Demonstration],
    tool_names: Sequence[str],
    style: Style,
    *,
    reinjection: Reinjection | None = None,
    negatives_per_demonstration: int | None = 64,
    batch_size: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> Features:
    """Run each demonstration through the LM once and keep what training needs.

    Supervised are every call's position (the last token that ends at or before its start) and, as examples of when not
    to call, the positions in the answer whose next token is a word. Positions whose next token lies in a tool's result
    are left out, since there the LM doesn't choose: the result is put in. At most `negatives_per_demonstration` word
    positions per demonstration are kept (None: all), drawn without replacement and weighted so that the objective's
    expectation is the full one. 64 covers a typical answer whole and bounds what a long plan costs.

    reinjection: how tool results stand in chat histories (`prompts.demonstrations.render_answer`). Each answer in a
    history goes through the LM by itself, behind the messages before it, since that is how it is decoded.

    Batches hold `batch_size` demonstrations of about one length, padded on the right. A demonstration longer than the
    LM's context is cut at its end if its calls still fit, and dropped otherwise.

    Raises DemonstrationError if nothing is left to supervise, ValueError for a bad `negatives_per_demonstration`.
    """
    if negatives_per_demonstration is not None and negatives_per_demonstration < 1:
        raise ValueError(
            f"negatives_per_demonstration is {negatives_per_demonstration}; it must be at least 1, or None for all"
        )
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    index = {name: k for k, name in enumerate(tool_names)}
    supervisions: list[_Supervision] = []
    dropped: list[DroppedRow] = []
    for number, demonstration in enumerate(demonstrations):
        supervision = _supervise(
            lm, number, demonstration, index, style, reinjection, negatives_per_demonstration, generator
        )
        if isinstance(supervision, _Supervision):
            if supervision.positions:
                supervisions.append(supervision)
        else:
            dropped.append(DroppedRow(demonstration.line or number + 1, supervision, demonstration.source))
    if not supervisions:
        reasons = "; ".join(map(str, dropped[:3]))
        raise DemonstrationError(f"no demonstration has a position to learn from. {reasons}")

    order = sorted(range(len(supervisions)), key=lambda i: -len(supervisions[i].ids))
    hidden: list[Tensor] = []
    logsumexp: list[Tensor] = []
    largest: list[Tensor] = []
    word_logit: list[Tensor] = []
    gathered: list[_Supervision] = []
    done = 0
    for start in range(0, len(order), batch_size):
        batch = [supervisions[i] for i in order[start : start + batch_size]]
        states = _hidden_states(lm, batch)
        words = torch.tensor([w for s in batch for w in s.words], device=states.device)
        for part, part_words in _chunks(states, words, lm.vocab_size):
            logits = lm.head.word_logits(part).float()
            logsumexp.append(logits.logsumexp(dim=-1).cpu())
            largest.append(logits.amax(dim=-1).cpu())
            word_logit.append(logits.gather(1, part_words[:, None])[:, 0].cpu())
        hidden.append(states.float().cpu())
        gathered.extend(batch)
        done += len(batch)
        if progress is not None:
            progress(done, len(order), "LM pass")

    target = torch.tensor([t for s in gathered for t in s.tools], dtype=torch.int64)
    return Features(
        hidden=torch.cat(hidden),
        word_logsumexp=torch.cat(logsumexp),
        word_max=torch.cat(largest),
        target=target,
        target_logit=torch.where(target < 0, torch.cat(word_logit), torch.zeros(())),
        weight=torch.tensor([w for s in gathered for w in s.weights], dtype=torch.float32),
        demonstration=torch.tensor([s.demonstration for s in gathered for _ in s.positions], dtype=torch.int64),
        dropped=tuple(dropped),
        tokens=sum(len(s.ids) for s in gathered),
        seconds=time.perf_counter() - began,
    )


def _hidden_states(lm: LanguageModel, batch: Sequence[_Supervision]) -> Tensor:
    """Hidden states at the supervised positions of a batch, one after another: (n, d)."""
    length = max(len(s.ids) for s in batch)
    # Padded on the right a causal LM's real positions never see the padding, so any id may stand there.
    input_ids = torch.tensor([s.ids + [0] * (length - len(s.ids)) for s in batch], device=lm.device)
    mask = torch.tensor([[1] * len(s.ids) + [0] * (length - len(s.ids)) for s in batch], device=lm.device)
    states = lm.hidden_states(input_ids, attention_mask=mask)
    rows = torch.tensor([row for row, s in enumerate(batch) for _ in s.positions], device=states.device)
    positions = torch.tensor([p for s in batch for p in s.positions], device=states.device)
    return states[rows, positions]


def _chunks(states: Tensor, words: Tensor, vocab_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    size = max(1, _LOGIT_ELEMENTS // vocab_size)
    yield from zip(states.split(size), words.split(size), strict=True)


def _supervise(
    lm: LanguageModel,
    number: int,
    demonstration: Demonstration,
    index: dict[str, int],
    style: Style,
    reinjection: Reinjection | None,
    negatives: int | None,
    generator: torch.Generator,
) -> _Supervision | str:
    """Positions, targets and weights of one demonstration, or the reason why it can't be used."""
    starts = [call.start for call in demonstration.calls]
    rendered: RenderedDemonstration
    if demonstration.before:
        try:
            rendered = render_answer(lm.tokenizer, demonstration.before, demonstration.text, starts, style, reinjection)
        except ValueError as error:  # another history may well suit the template that refuses this one
            return str(error)
    else:
        rendered = render_demonstration(lm.tokenizer, demonstration.text, starts, style)
    ids = list(rendered.ids)
    calls: list[tuple[int, int]] = []
    results: set[int] = set()
    for call, position in zip(demonstration.calls, rendered.call_positions, strict=True):
        if call.tool not in index:
            return f"no toolken for '{call.tool}'"
        end = result_end(demonstration.text, call)
        if end is None:
            return f"the result {call.result!r} of '{call.tool}' is not at start {call.start}"
        if position is None:
            return f"the call of '{call.tool}' at {call.start} lies outside the answer"
        calls.append((position, index[call.tool]))
        # A token begins where the one before it ends, so `inside` is a position whose next token lies in the result,
        # wholly or in part.
        for inside in range(position, len(ids) - 1):
            before = rendered.ends[inside]
            if inside > position and (before is None or before >= end):
                break
            results.add(inside)

    if len(ids) > lm.context_length:
        if any(position >= lm.context_length for position, _ in calls):
            return (
                f"its {len(ids)} tokens exceed the LM's context of {lm.context_length}, and cutting would lose a call"
            )
        ids = ids[: lm.context_length]
    taken = results.union(position for position, _ in calls)
    candidates = [p for p in range(rendered.first_supervised, len(ids) - 1) if p not in taken]
    weight = 1.0
    kept = candidates
    if negatives is not None and len(candidates) > negatives:
        weight = len(candidates) / negatives
        kept = sorted(candidates[i] for i in torch.randperm(len(candidates), generator=generator)[:negatives].tolist())
    return _Supervision(
        demonstration=number,
        ids=ids,
        positions=[*(p for p, _ in calls), *kept],
        tools=[*(k for _, k in calls), *(-1 for _ in kept)],
        words=[*(0 for _ in calls), *(ids[p + 1] for p in kept)],
        weights=[*(1.0 for _ in calls), *(weight for _ in kept)],
    )
