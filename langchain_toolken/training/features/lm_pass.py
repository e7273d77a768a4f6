"""Run the demonstrations through the frozen LM in batches.

The batches depend on the demonstrations alone, not on the number of processes or on where an earlier pass was
interrupted, so that each batch always gives the same numbers. What all prompts begin with (a chat template's system
message) is run once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.lm.fast_linear import fast_linear
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.states import shared_length
from langchain_toolken.lm.transformers_model import SharedBeginning, TransformersModel
from langchain_toolken.training.features.supervision import Supervision


@dataclass(frozen=True, eq=False)
class PassBatch:
    """Token sequences that go through the LM together, longest first, and what is learned from each.

    Attributes:
        sequences: Token ids; none is a prefix of another.
        supervised: For each sequence, the demonstrations that are learned from its states.
        first_row: Index of the batch's first position among all positions of the pass.
    """

    sequences: tuple[tuple[int, ...], ...]
    supervised: tuple[tuple[Supervision, ...], ...]
    first_row: int

    @property
    def supervisions(self) -> Iterator[Supervision]:
        """The demonstrations, in the order of the rows."""
        for group in self.supervised:
            yield from group

    @property
    def rows(self) -> slice:
        """The batch's positions among all positions of the pass."""
        return slice(self.first_row, self.first_row + sum(len(one.positions) for one in self.supervisions))

    @property
    def tokens(self) -> int:
        """Number of tokens without padding."""
        return sum(map(len, self.sequences))


def plan_batches(supervisions: Sequence[Supervision], batch_tokens: int) -> list[PassBatch]:
    """Group demonstrations into batches of at most `batch_tokens` tokens, padding included, or of a single sequence.

    Tokens after the last supervised position and the request are not run. A demonstration whose ids are a prefix of
    another's is learned from the other's states, which are the same in a causal LM. So a chat history with several
    answers goes through the LM once, if each answer's layout continues the previous one's.
    """
    needed = [one.ids[: max(*one.positions, one.request[1] - 1) + 1] for one in supervisions]
    # In lexicographic order everything that begins with x directly follows x.
    order = sorted(range(len(supervisions)), key=lambda i: needed[i])
    groups: list[tuple[tuple[int, ...], list[int]]] = []
    for i in reversed(order):
        if groups and groups[-1][0][: len(needed[i])] == needed[i]:
            groups[-1][1].append(i)
        else:
            groups.append((needed[i], [i]))
    groups = [(ids, sorted(members)) for ids, members in groups]
    groups.sort(key=lambda group: (-len(group[0]), group[1]))
    batches: list[PassBatch] = []
    first_row = start = 0
    while start < len(groups):
        count = max(1, batch_tokens // len(groups[start][0]))
        part = groups[start : start + count]
        batch = PassBatch(
            sequences=tuple(ids for ids, _ in part),
            supervised=tuple(tuple(supervisions[i] for i in members) for _, members in part),
            first_row=first_row,
        )
        batches.append(batch)
        first_row, start = batch.rows.stop, start + count
    return batches


def sequences_of(batches: Sequence[PassBatch]) -> list[tuple[int, ...]]:
    """Return the sequences of all batches."""
    return [ids for batch in batches for ids in batch.sequences]


def tokens_run(lm: LanguageModel, batches: Sequence[PassBatch], which: Sequence[int]) -> int:
    """Count the tokens that go through the LM for some of the batches, what all sequences begin with once."""
    sequences = sum(len(batches[i].sequences) for i in which)
    return sum(batches[i].tokens for i in which) - shared_length(lm, sequences_of(batches)) * max(0, sequences - 1)


@torch.inference_mode()
def run_batch(
    lm: LanguageModel, batch: PassBatch, shared: SharedBeginning | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a batch and return what training needs of its n positions and m demonstrations, on the CPU.

    Args:
        lm: The LM.
        batch: The batch.
        shared: What its sequences begin with.

    Returns:
        hidden: (n, d) in the LM's dtype, the input of the output head.
        words: (n, 3) float32: logsumexp of the word logits, the largest word logit, and the logit of the word that
            follows (0 if a tool is called).
        requests: (m, d) in the LM's dtype: the mean hidden state over each demonstration's request.
    """
    device = lm.device
    with fast_linear(device):
        length = len(batch.sequences[0])
        # With padding on the right, a causal LM's real positions never see it, so any id will do, without a mask.
        input_ids = torch.tensor([(*ids, *[0] * (length - len(ids))) for ids in batch.sequences], device=device)
        rows = [row for row, group in enumerate(batch.supervised) for one in group for _ in one.positions]
        positions = [position for one in batch.supervisions for position in one.positions]
        following = torch.tensor([word for one in batch.supervisions for word in one.words])
        places = list(zip(rows, positions, strict=True))
        if shared is not None and isinstance(lm, TransformersModel):
            states, words = lm.read(input_ids, places, following, shared)
        else:
            states, words = lm.read(input_ids, places, following)
        asked = [(row, *one.request) for row, group in enumerate(batch.supervised) for one in group]
        requests = torch.stack([states[row, start:stop].float().mean(dim=0) for row, start, stop in asked])
        requests = requests.to(states.dtype).cpu()
        states = states[torch.tensor(rows, device=states.device), torch.tensor(positions, device=states.device)]
        calls = torch.tensor([tool >= 0 for one in batch.supervisions for tool in one.tools])
        words[calls, 2] = 0.0
    return states.cpu(), words, requests
