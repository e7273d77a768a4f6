"""`ToolkenSet`: the toolkens of some tools for one LM. `toolken_folder` says what a saved one looks like."""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from langchain_toolken._version import __version__
from langchain_toolken.lm.identity import LMIdentity
from langchain_toolken.prompts.format import Style
from langchain_toolken.toolkens.folder import TENSORS_FILE, ToolkenSetError, read_folder, write_folder
from langchain_toolken.tools.spec import ToolSpec

# The error is the set's as much as its folder's, and this module is where users know it from.
__all__ = ["Calibration", "Provenance", "ToolkenSet", "ToolkenSetError"]


_OPTIONAL_TENSORS = ("tool_biases", "call_states")


class Provenance(BaseModel):
    """Where toolkens come from: the LM they belong to and what they were fitted on.

    The fingerprints decide whether an LM is that LM; `model_id` and `revision` are for people. added: by the names of
    tools that came to the set after its fit, how their rows were made ("prior …", "mapped …", "update …").
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model_id: str
    revision: str | None
    head_fingerprint: str
    tokenizer_fingerprint: str
    style: Style
    prior: str
    lam: float | None
    demonstrations: int
    tool_positions: int
    word_positions: int
    package_version: str
    added: dict[str, str] = {}

    @classmethod
    def of(
        cls,
        lm: LMIdentity,
        style: Style,
        prior: str,
        *,
        lam: float | None = None,
        demonstrations: int = 0,
        tool_positions: int = 0,
        word_positions: int = 0,
    ) -> Self:
        """What this version of the package makes for `lm`; the defaults are those of rows that nobody trained."""
        return cls(
            model_id=lm.model_id,
            revision=lm.revision,
            head_fingerprint=lm.head_fingerprint,
            tokenizer_fingerprint=lm.tokenizer_fingerprint,
            style=style,
            prior=prior,
            lam=lam,
            demonstrations=demonstrations,
            tool_positions=tool_positions,
            word_positions=word_positions,
            package_version=__version__,
        )


class Calibration(BaseModel):
    """What held-out data said about a set's calls and probabilities (see `training.calibration`).

    temperature: the reported probabilities are softmax([log-sum-exp of the words; toolken logits] / temperature), words
        being one class. It has no part in the decision to call.
    fitted_bias: the bias that the toolkens were fitted with, which belongs to their probabilities. What the set's bias
        has beyond it says what a call is worth, not how likely it is, and is left out of them.
    ece_before, ece_after: expected calibration error of the calls' probabilities with temperature 1 and with this one.
    f1, recall, false_call_rate: of held-out calls at the set's biases. max_false_call_rate: the cap, if one was asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(gt=0)
    fitted_bias: float
    ece_before: float
    ece_after: float
    f1: float
    recall: float
    false_call_rate: float
    max_false_call_rate: float | None


class _Settings(BaseModel):
    """What toolkens.json holds beside what `toolken_folder` puts there."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    bias: float
    specs: list[ToolSpec]
    provenance: Provenance
    calibration: Calibration | None = None


@dataclass(frozen=True, eq=False)
class ToolkenSet:
    """K toolkens for one LM of hidden size d.

    `matrix` and `prior` are (K, d) float32 on the CPU (given otherwise, they are brought there): the toolkens' rows of
    the output head, and the rows they were pulled towards while fitted (DESIGN §2). `bias` is added to every toolken's
    logit, and `tool_biases` ((K,) float32, or None for none) to each its own besides. `calibration`: what held-out data
    said, None where there was none. `call_states` ((K, d) float32, or None where nobody kept them): each tool's mean
    hidden state at the demonstrations' calls of it, 0 for tools that none calls; toolkens of further tools are learned
    from them (`decoding.toolken_map`). Row i belongs to `specs[i]`. The methods never change a set, they return a new
    one.

    Raises `ToolkenSetError` if the shapes do not agree, a value is not finite or two specs have one name.
    """

    specs: tuple[ToolSpec, ...]
    matrix: Tensor
    prior: Tensor
    bias: float
    provenance: Provenance
    tool_biases: Tensor | None = None
    calibration: Calibration | None = None
    call_states: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "specs", tuple(self.specs))
        object.__setattr__(self, "bias", float(self.bias))
        for name in ("matrix", "prior", "call_states"):
            rows: Tensor | None = getattr(self, name)
            if rows is None:
                continue
            if rows.ndim != 2 or rows.shape[0] != len(self.specs) or rows.shape[1] == 0:
                raise ToolkenSetError(
                    f"{name} has shape {tuple(rows.shape)}; {len(self.specs)} tools need a row each, "
                    "as long as the LM's hidden size"
                )
            rows = rows.detach().to(device="cpu", dtype=torch.float32).contiguous()
            if not bool(torch.isfinite(rows).all()):
                faulty = int((~torch.isfinite(rows)).any(dim=1).nonzero()[0])
                raise ToolkenSetError(f"{name} has a value that is not finite, in the row of {self.names[faulty]!r}")
            object.__setattr__(self, name, rows)
        for name, rows in (("prior", self.prior), ("call_states", self.call_states)):
            if rows is not None and self.matrix.shape != rows.shape:
                raise ToolkenSetError(
                    f"matrix {tuple(self.matrix.shape)} and {name} {tuple(rows.shape)} differ in shape"
                )
        if not math.isfinite(self.bias):
            raise ToolkenSetError(f"the bias is {self.bias}; it must be finite")
        if self.tool_biases is not None:
            if tuple(self.tool_biases.shape) != (len(self.specs),):
                raise ToolkenSetError(
                    f"tool_biases has shape {tuple(self.tool_biases.shape)}; {len(self.specs)} tools need one each"
                )
            biases = self.tool_biases.detach().to(device="cpu", dtype=torch.float32).contiguous()
            if not bool(torch.isfinite(biases).all()):
                faulty = int((~torch.isfinite(biases)).nonzero()[0])
                raise ToolkenSetError(f"tool_biases has a value that is not finite, for {self.names[faulty]!r}")
            object.__setattr__(self, "tool_biases", biases)
        if len(set(self.names)) != len(self.specs):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ToolkenSetError(f"two toolkens are named {twice!r}: remove one of the two tools")

    @property
    def names(self) -> tuple[str, ...]:
        """The tools' names, in the order of the rows."""
        return tuple(spec.name for spec in self.specs)

    @property
    def biases(self) -> Tensor:
        """What is added to each toolken's logit: (K,) float32, the bias and the tool's own together."""
        return self._own_biases() + self.bias

    @property
    def trained(self) -> list[int]:
        """Rows of the tools that demonstrations called; none where nobody kept `call_states`."""
        return [] if self.call_states is None else self.call_states.any(dim=1).nonzero()[:, 0].tolist()

    @property
    def hidden_size(self) -> int:
        """The LM's hidden size d."""
        return int(self.matrix.shape[1])

    @property
    def fingerprint(self) -> str:
        """A short text that is equal for two sets with equal toolkens, biases and calibration, and only for those."""
        digest = hashlib.sha256(f"{self.names} {self.biases.tolist()} {self.calibration}".encode())
        digest.update(self.matrix.numpy().tobytes())
        return f"{len(self)} tools, sha256 {digest.hexdigest()[:16]}"

    @property
    def made_for(self) -> LMIdentity:
        """The LM that these toolkens belong to."""
        lm = self.provenance
        return LMIdentity(lm.model_id, lm.revision, lm.head_fingerprint, lm.tokenizer_fingerprint, self.hidden_size)

    def __len__(self) -> int:
        return len(self.specs)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing changes a set, and its rows may be gigabytes

    def __repr__(self) -> str:
        shown = ", ".join(self.names[:4]) + (", …" if len(self) > 4 else "")
        return f"ToolkenSet({len(self)} tools for {self.provenance.model_id}: {shown})"

    def index(self, name: str) -> int:
        """The row of a tool; `ToolkenSetError` if it has no toolken here."""
        try:
            return self.names.index(name)
        except ValueError:
            raise ToolkenSetError(self._unknown(name)) from None

    def select(self, names: Iterable[str]) -> ToolkenSet:
        """The toolkens of these tools only, in the order of `names`."""
        return self._rows(self._indices(names))

    def remove(self, names: Iterable[str]) -> ToolkenSet:
        """The toolkens of all tools but these, in their order."""
        gone = set(self._indices(names))
        return self._rows([i for i in range(len(self)) if i not in gone])

    def add(self, specs: Sequence[ToolSpec], rows: Tensor, how: str = "prior") -> ToolkenSet:
        """With toolkens for further tools that nobody trained: `rows` (len(specs), d), their priors as well.

        how: how the rows were made, for the provenance. `decoding.new_tools.add_tools` makes them. The rows of the
        tools already here stay as they are, bit for bit. The new tools get the set's bias.
        """
        known = [spec.name for spec in specs if spec.name in self]
        if known:
            raise ToolkenSetError(f"{known[0]!r} has a toolken already: remove it first, or leave it out")
        if tuple(rows.shape) != (len(specs), self.hidden_size):
            raise ToolkenSetError(
                f"the rows have shape {tuple(rows.shape)}; {len(specs)} tools for "
                f"{self.provenance.model_id} need ({len(specs)}, {self.hidden_size})"
            )
        rows = rows.detach().to(device="cpu", dtype=torch.float32)
        added = {**self.provenance.added, **{spec.name: how for spec in specs}}
        return replace(
            self,
            specs=(*self.specs, *specs),
            matrix=torch.cat([self.matrix, rows]),
            prior=torch.cat([self.prior, rows]),
            tool_biases=None if self.tool_biases is None else torch.cat([self.tool_biases, torch.zeros(len(specs))]),
            call_states=None if self.call_states is None else torch.cat([self.call_states, torch.zeros_like(rows)]),
            provenance=self.provenance.model_copy(update={"added": added}),
        )

    def merge(self, other: ToolkenSet) -> ToolkenSet:
        """The toolkens of both, for one LM; this set's rows come first.

        Every tool keeps its bias: where the sets' biases differ, the tools of `other` carry the difference as biases of
        their own. The calibration stays only if both sets have the same one.

        Raises `ToolkenSetError` if the sets are for different LMs, share a tool, or were fitted in different prompt
        styles. Where the provenances differ otherwise, the counts add up, `lam` is None and `prior` names both.
        """
        ours, theirs = self.provenance, other.provenance
        other.check_fits(self.made_for)
        shared = [name for name in other.names if name in self]
        if shared:
            raise ToolkenSetError(f"both sets have a toolken for {shared[0]!r}: remove it from one of them first")
        if ours.style != theirs.style:
            raise ToolkenSetError(
                f"one set was fitted in {ours.style} style and the other in {theirs.style} style: fit both in one style"
            )
        provenance = ours.model_copy(
            update={
                "prior": ours.prior if ours.prior == theirs.prior else f"{ours.prior} + {theirs.prior}",
                "lam": ours.lam if ours.lam == theirs.lam else None,
                "demonstrations": ours.demonstrations + theirs.demonstrations,
                "tool_positions": ours.tool_positions + theirs.tool_positions,
                "word_positions": ours.word_positions + theirs.word_positions,
                "package_version": __version__,
                "added": {**ours.added, **theirs.added},
            }
        )
        tool_biases = torch.cat([self._own_biases(), other._own_biases() + (other.bias - self.bias)])
        return ToolkenSet(
            specs=(*self.specs, *other.specs),
            matrix=torch.cat([self.matrix, other.matrix]),
            prior=torch.cat([self.prior, other.prior]),
            bias=self.bias,
            provenance=provenance,
            tool_biases=tool_biases if bool(tool_biases.any()) else None,
            calibration=self.calibration if self.calibration == other.calibration else None,
            call_states=None
            if self.call_states is None and other.call_states is None
            else torch.cat(
                [torch.zeros_like(one.matrix) if one.call_states is None else one.call_states for one in (self, other)]
            ),
        )

    def check_fits(self, lm: LMIdentity) -> None:
        """Raises `ToolkenSetError`, naming both LMs and what differs, unless these toolkens were made for this LM."""
        if differences := self.made_for.differences(lm):
            raise ToolkenSetError(
                f"these toolkens were fitted for {self.made_for}, the LM is {lm}: they differ in "
                f"{', '.join(differences)}. Load the LM they were fitted for, or fit toolkens for this one"
            )

    def save(self, folder: str | Path, beside: Mapping[str, str] | None = None) -> None:
        """Writes the set to `folder`, replacing a set that is there. A save that is killed leaves the old one whole.

        beside: further text files of the same save, by name (a report, a model card).

        Raises `ToolkenSetError` if `folder` holds anything that no save put there, or that was changed since: it would
        be lost. ValueError for a name that is not a plain file's, or is one of the set's own.
        """
        # Toolkens that were never fitted are their prior, the very same tensor, which safetensors would refuse.
        tensors = {"matrix": self.matrix.clone(), "prior": self.prior.clone()}
        for name in _OPTIONAL_TENSORS:
            if (tensor := getattr(self, name)) is not None:
                tensors[name] = tensor
        settings = _Settings(
            bias=self.bias, specs=list(self.specs), provenance=self.provenance, calibration=self.calibration
        )
        write_folder(folder, settings, tensors, beside)

    @classmethod
    def load(cls, folder: str | Path) -> ToolkenSet:
        """The set that was saved to `folder`.

        Raises `ToolkenSetError`, naming the file and the next step, for a folder that is missing, truncated, mixed from
        two saves, of a format this version does not know, or not one of ours.
        """
        settings, tensors = read_folder(folder, _Settings)
        file = Path(folder) / TENSORS_FILE
        if set(tensors) - set(_OPTIONAL_TENSORS) != {"matrix", "prior"}:
            raise ToolkenSetError(f"{file} holds {sorted(tensors)}, not 'matrix' and 'prior': fit anew")
        try:
            return cls(
                specs=tuple(settings.specs),
                matrix=tensors["matrix"],
                prior=tensors["prior"],
                bias=settings.bias,
                provenance=settings.provenance,
                calibration=settings.calibration,
                **{name: tensors.get(name) for name in _OPTIONAL_TENSORS},
            )
        except ToolkenSetError as error:
            raise ToolkenSetError(f"{file}: {error}. Fit anew") from error

    def _rows(self, indices: Sequence[int]) -> ToolkenSet:
        rows = torch.tensor(indices, dtype=torch.long)
        names = {self.names[i] for i in indices}
        added = {name: how for name, how in self.provenance.added.items() if name in names}
        return replace(
            self,
            specs=tuple(self.specs[i] for i in indices),
            matrix=self.matrix[rows],
            prior=self.prior[rows],
            tool_biases=None if self.tool_biases is None else self.tool_biases[rows],
            call_states=None if self.call_states is None else self.call_states[rows],
            provenance=self.provenance.model_copy(update={"added": added}),
        )

    def _own_biases(self) -> Tensor:
        return torch.zeros(len(self)) if self.tool_biases is None else self.tool_biases

    def _indices(self, names: Iterable[str]) -> list[int]:
        if isinstance(names, str):
            raise ToolkenSetError(f"give a list of names, [{names!r}], not {names!r}")
        rows = {name: i for i, name in enumerate(self.names)}
        indices: list[int] = []
        for name in names:
            if name not in rows:
                raise ToolkenSetError(self._unknown(name))
            indices.append(rows[name])
        if len(set(indices)) != len(indices):
            twice = next(self.names[i] for i in indices if indices.count(i) > 1)
            raise ToolkenSetError(f"{twice!r} is named twice: name each tool once")
        return indices

    def _unknown(self, name: str) -> str:
        close = difflib.get_close_matches(str(name), self.names, n=3)
        hint = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(self.names[:10]) or 'none'}"
        return f"there is no toolken named {name!r} ({hint})"
