"""The pass of the demonstrations through the frozen LM, in batches that depend on the demonstrations alone.

The batches are the same whatever the number of processes and wherever the pass was broken off, so that each gives the
same numbers again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.lm.fast_linear import fast_linear
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.training.features.supervision import Supervision

# How many word logits are alive at once (4 MB in float32): vocabularies go from 6,000 to 256,000, so elements count.
_LOGIT_ELEMENTS = 1 << 20


@dataclass(frozen=True, eq=False)
class PassBatch:
    """Token sequences that go through the LM together, the longest first, and what is learnt from each.

    sequences: token ids, none of them the beginning of another. supervised: for each sequence the demonstrations that
    are learnt from its states. first_row: where the batch's positions begin among all.
    """

    sequences: tuple[tuple[int, ...], ...]
    supervised: tuple[tuple[Supervision, ...], ...]
    first_row: int

    @property
    def supervisions(self) -> Iterator[Supervision]:
        """In the order of the rows."""
        for group in self.supervised:
            yield from group

    @property
    def rows(self) -> slice:
        """The batch's positions among all of the pass."""
        return slice(self.first_row, self.first_row + sum(len(one.positions) for one in self.supervisions))

    @property
    def tokens(self) -> int:
        """Tokens without padding."""
        return sum(map(len, self.sequences))


def plan_batches(supervisions: Sequence[Supervision], batch_tokens: int) -> list[PassBatch]:
    """The batches of a pass: at most `batch_tokens` tokens each, padding counted, but at least one sequence.

    What lies behind the last supervised position is not run. A demonstration whose ids are the beginning of another's
    is learnt from that one's states, which in a causal LM are the same: so a chat history with several answers goes
    through the LM once, as long as each answer's layout goes on from the one before it.
    """
    needed = [one.ids[: max(one.positions) + 1] for one in supervisions]
    # In lexicographic order everything that begins with x stands right behind x.
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


@torch.inference_mode()
def run_batch(lm: LanguageModel, batch: PassBatch) -> tuple[Tensor, Tensor]:
    """What training needs of a batch's n positions, on the CPU.

    Returns:
        hidden (n, d) in the LM's dtype: what the output head is applied to; and words (n, 3) float32: logsumexp of the
        word logits, the largest of them, and the logit of the word that follows (0 where a tool is called).
    """
    device = lm.device
    with fast_linear(device):
        length = len(batch.sequences[0])
        # Padded on the right a causal LM's real positions never see the padding: any id may stand there, unmasked.
        input_ids = torch.tensor([(*ids, *[0] * (length - len(ids))) for ids in batch.sequences], device=device)
        states = lm.hidden_states(input_ids)
        rows = [row for row, group in enumerate(batch.supervised) for one in group for _ in one.positions]
        positions = [position for one in batch.supervisions for position in one.positions]
        states = states[torch.tensor(rows, device=states.device), torch.tensor(positions, device=states.device)]
        following = torch.tensor([word for one in batch.supervisions for word in one.words])
        calls = torch.tensor([tool >= 0 for one in batch.supervisions for tool in one.tools])
        words = torch.empty(len(positions), 3)
        size = max(1, _LOGIT_ELEMENTS // lm.vocab_size)
        for start in range(0, len(positions), size):
            part = slice(start, start + size)
            logits = lm.head.word_logits(states[part])
            words[part, 0] = logits.logsumexp(dim=-1).cpu()
            words[part, 1] = logits.amax(dim=-1).cpu()
            words[part, 2] = logits.gather(1, following[part, None].to(logits.device))[:, 0].cpu()
        words[calls, 2] = 0.0
        return states.cpu(), words
