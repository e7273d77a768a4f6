"""`ServedBatch`: the rows of a vLLM server's batch, step by step.

vLLM tells which requests are where in its batch, runs the model over all their new tokens, and asks for the logits of
each request's last one. Requests of others than this package's client are among them; they get the words alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from langchain_toolken.decoding.vllm.rows import ServedRow
from langchain_toolken.decoding.vllm.served import ServedLM
from langchain_toolken.decoding.vllm.wire import Asked

_KEPT = 4_096  # rows that left the batch, which come back if vLLM takes memory from them for a while


class ServedBatch:
    """The rows of one batch. For one thread.

    Args:
        served: The LM and the toolkens.
    """

    def __init__(self, served: ServedLM) -> None:
        self._served = served
        self._rows: dict[int, ServedRow] = {}
        self._left: OrderedDict[str, ServedRow] = OrderedDict()
        self._due: list[int] | None = None  # places whose next token can be chosen
        self._forced: dict[int, int] = {}

    def remove(self, places: Sequence[int]) -> None:
        """Take rows out."""
        for place in places:
            self._rows.pop(place, None)

    def add(self, place: int, prompt: Sequence[int], asked: Asked | None) -> None:
        """Put a request at a place; None for one of somebody else."""
        self._rows.pop(place, None)
        if asked is None:
            return
        row = self._left.pop(asked.uid, None) or ServedRow(self._served, list(prompt), asked)
        self._rows[place] = row
        self._left[asked.uid] = row
        if len(self._left) > _KEPT:
            self._left.popitem(last=False)

    def move(self, source: int, target: int, *, swap: bool) -> None:
        """Move a row to another place, or swap two."""
        moved, other = self._rows.pop(source, None), self._rows.pop(target, None)
        if moved is not None:
            self._rows[target] = moved
        if swap and other is not None:
            self._rows[source] = other

    def ran(self, bounds: Sequence[int], positions: Sequence[int], hidden: Tensor) -> None:
        """Take the states of all tokens of a step.

        Args:
            bounds: Where the tokens of each place begin in `hidden`, and where the last ones end.
            positions: The position of each token in its row.
            hidden: (n, d), after the final norm.
        """
        self._due = []
        for place in range(len(bounds) - 1):
            first, last = bounds[place], bounds[place + 1]
            row = self._rows.get(place)
            if row is None or first == last:
                continue
            row.collect(positions[first], hidden[first:last])
            if positions[last - 1] + 1 == row.length:  # else a part of a prompt ran
                self._due.append(place)

    def choose(self, hidden: Tensor, logits: Tensor) -> Tensor:
        """Choose the next token of each row that is due.

        Args:
            hidden: (n, d), the last state of each place.
            logits: (n, W), as the model has them: words, toolkens, padding. They may be changed.

        Returns:
            (n, W): what log-probabilities are computed from. Toolkens of other requests have minus infinity.
        """
        due, self._due, self._forced = self._due, None, {}
        words = self._served.vocab_size
        logits = logits.float() if due else logits
        own = logits[:, :words].clone() if due else logits
        logits[:, words:] = float("-inf")
        for place in due or ():
            chosen = self._rows[place].choose(hidden[place : place + 1], own[place : place + 1])
            self._forced[place] = chosen.token
            if isinstance(chosen.shown, Tensor):
                logits[place] = float("-inf")
                logits[place, : len(chosen.shown)] = chosen.shown.to(logits)
            elif chosen.shown is not None:
                logits[place] = float("-inf")
                logits[place, list(chosen.shown)] = torch.tensor(list(chosen.shown.values())).to(logits)
        return logits

    def force(self, logits: Tensor) -> Tensor:
        """Leave nothing but the chosen tokens in the logits (n, W) that vLLM draws from. They are changed."""
        for place, token in self._forced.items():
            logits[place] = float("-inf")
            logits[place, token] = 0.0
        return logits
