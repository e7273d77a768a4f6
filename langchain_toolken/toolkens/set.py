"""`ToolkenSet`: the toolkens of some tools for one LM."""

from __future__ import annotations

import difflib
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from langchain_core.embeddings import Embeddings
from torch import Tensor

from langchain_toolken.lm.identity import LMIdentity
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.evidence import Evidence, is_evidence, merged
from langchain_toolken.toolkens.examples import NO_EXAMPLES, Examples
from langchain_toolken.toolkens.folder import TENSORS_FILE, SavedSettings, read_folder, write_folder
from langchain_toolken.toolkens.provenance import Calibration, Provenance
from langchain_toolken.tools.spec import ToolSpec

_OPTIONAL_TENSORS = ("tool_biases", "call_states")
EVIDENCE_FILE = "evidence.json"


@dataclass(frozen=True, eq=False)
class ToolkenSet:
    """K toolkens for one LM of hidden size d. Its methods never change it; they return a new set.

    Tensors are copied to the CPU as float32 where they are not there already.

    Attributes:
        specs: The K tools. Row i of every tensor belongs to `specs[i]`.
        matrix: (K, d), the toolkens: their rows of the output head.
        prior: (K, d), the rows that the fit pulled them towards.
        bias: What is added to every toolken's logit.
        provenance: The LM and the fit that the set comes from.
        tool_biases: (K,), what is added to each tool's logit on top of `bias`; None for nothing.
        calibration: How the set did on held-out data; None without any.
        call_states: (K, d), each tool's mean hidden state at its calls in the demonstrations, 0 for tools without;
            None if not kept. Toolkens of new tools are learned from them (`toolkens.mapping`).
        examples: What arguments are completed with: demonstrated calls, and the form of the tools' cards.
        evidence: What else says when to call, and which tool; None for the rows alone, as in the papers.

    Raises:
        ToolkenSetError: Shapes do not agree, a value is not finite, or two specs have one name.
    """

    specs: tuple[ToolSpec, ...]
    matrix: Tensor
    prior: Tensor
    bias: float
    provenance: Provenance
    tool_biases: Tensor | None = None
    calibration: Calibration | None = None
    call_states: Tensor | None = None
    evidence: Evidence | None = None
    examples: Examples = NO_EXAMPLES

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
        if not math.isfinite(self.bias) or abs(self.bias) > torch.finfo(torch.float32).max:
            raise ToolkenSetError(f"the bias is {self.bias}; it must be finite, as a float32 too")
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
        self.examples.check(set(self.names), self.hidden_size)
        if self.evidence is not None:
            self.evidence.check(len(self.specs), self.hidden_size)

    @property
    def names(self) -> tuple[str, ...]:
        """The tools' names, in the order of the rows."""
        return tuple(spec.name for spec in self.specs)

    @property
    def biases(self) -> Tensor:
        """(K,) float32: what is added to each toolken's logit, `bias` and `tool_biases` together."""
        return self._own_biases() + self.bias

    @property
    def trained(self) -> list[int]:
        """Rows of the tools that demonstrations called; none without `call_states`."""
        return [] if self.call_states is None else self.call_states.any(dim=1).nonzero()[:, 0].tolist()

    @property
    def hidden_size(self) -> int:
        """The LM's hidden size d."""
        return int(self.matrix.shape[1])

    @property
    def fingerprint(self) -> str:
        """A short text that is equal for two sets with all equal that decoding reads, and only for those."""
        own = f"{self.names} {self.biases.tolist()} {self.calibration} {self.examples.fingerprint}"
        digest = hashlib.sha256(own.encode())
        digest.update(self.matrix.numpy().tobytes())
        if self.evidence is not None:
            digest.update(self.evidence.fingerprint.encode())
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
        """Return the row of a tool.

        Raises:
            ToolkenSetError: It has no toolken here.
        """
        try:
            return self.names.index(name)
        except ValueError:
            raise ToolkenSetError(self._unknown(name)) from None

    def select(self, names: Iterable[str]) -> ToolkenSet:
        """Keep the toolkens of these tools only, in the order of `names`.

        Raises:
            ToolkenSetError: A tool has no toolken here, or is named twice.
        """
        return self._rows(self._indices(names))

    def remove(self, names: Iterable[str]) -> ToolkenSet:
        """Leave out the toolkens of these tools.

        Raises:
            ToolkenSetError: A tool has no toolken here, or is named twice.
        """
        gone = set(self._indices(names))
        return self._rows([i for i in range(len(self)) if i not in gone])

    def add(self, specs: Sequence[ToolSpec], rows: Tensor, how: str = "prior") -> ToolkenSet:
        """Append toolkens for tools that were not trained. They get the set's bias; `new_tools.add_tools` makes rows.

        Args:
            specs: The new tools.
            rows: (len(specs), d), their toolkens, and their priors too.
            how: How the rows were made, for the provenance.

        Returns:
            A set whose first rows are those of this one, bit for bit.

        Raises:
            ToolkenSetError: A tool has a toolken already, or `rows` has the wrong shape.
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
            evidence=None if self.evidence is None else self.evidence.add(specs),
            provenance=self.provenance.model_copy(update={"added": added}),
        )

    def merge(self, other: ToolkenSet) -> ToolkenSet:
        """Put the toolkens of two sets for one LM together; this set's rows come first.

        Every tool keeps its bias: if the sets' biases differ, the tools of `other` get the difference as `tool_biases`.
        The calibration is kept only if both sets have the same one. The provenance and
        the evidence are put together by `Provenance.merged` and `evidence.merged`.

        Raises:
            ToolkenSetError: The sets are for different LMs, share a tool, or were fitted in different prompt styles.
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
        tool_biases = torch.cat([self._own_biases(), other._own_biases() + (other.bias - self.bias)])
        return ToolkenSet(
            specs=(*self.specs, *other.specs),
            matrix=torch.cat([self.matrix, other.matrix]),
            prior=torch.cat([self.prior, other.prior]),
            bias=self.bias,
            provenance=ours.merged(theirs),
            tool_biases=tool_biases if bool(tool_biases.any()) else None,
            calibration=self.calibration if self.calibration == other.calibration else None,
            call_states=None
            if self.call_states is None and other.call_states is None
            else torch.cat(
                [torch.zeros_like(one.matrix) if one.call_states is None else one.call_states for one in (self, other)]
            ),
            examples=self.examples.merged(other.examples),
            evidence=merged(self.evidence, self.specs, other.evidence, other.specs),
        )

    def describe(self, specs: Sequence[ToolSpec]) -> ToolkenSet:
        """Give the tools other descriptions and arguments. Their rows stay.

        Args:
            specs: One for each tool, in the order of the rows and under its name.

        Raises:
            ToolkenSetError: The names differ from the set's.
        """
        if tuple(spec.name for spec in specs) != self.names:
            raise ToolkenSetError("describe needs a spec for each tool of the set, in its order")
        evidence = None if self.evidence is None else self.evidence.describe(self.specs, specs)
        return replace(self, specs=tuple(specs), evidence=evidence)

    def check_fits(self, lm: LMIdentity) -> None:
        """Check that these toolkens were made for `lm`.

        Raises:
            ToolkenSetError: They were not. The message names both LMs and what differs.
        """
        if differences := self.made_for.differences(lm):
            raise ToolkenSetError(
                f"these toolkens were fitted for {self.made_for}, the LM is {lm}: they differ in "
                f"{', '.join(differences)}. Load the LM they were fitted for, or fit toolkens for this one"
            )

    def save(self, folder: str | Path, extra_files: Mapping[str, str] | None = None) -> None:
        """Write the set to `folder`, in place of a set that is there. A save that is killed leaves the old one whole.

        Args:
            folder: Where to.
            extra_files: Further text files of the same save, by name (a report, a model card).

        Raises:
            ToolkenSetError: `folder` holds something that no save put there, or that was changed since: it would be
                lost. Or another process has been saving to it for ten minutes.
            WriteError: A file can't be written (a full disk, say). The set that was there still is.
            ValueError: An extra file's name is not a plain file name, or belongs to the set itself.
        """
        # In a set that was never fitted, matrix and prior are the same tensor, which safetensors refuses.
        tensors = {"matrix": self.matrix.clone(), "prior": self.prior.clone()}
        for name in _OPTIONAL_TENSORS:
            if (tensor := getattr(self, name)) is not None:
                tensors[name] = tensor
        own_files = self.examples.files()
        if self.evidence is not None:
            text, more = self.evidence.saved()
            own_files[EVIDENCE_FILE] = text.encode(errors="replace")
            tensors |= more
        settings = SavedSettings(
            bias=self.bias,
            specs=list(self.specs),
            provenance=self.provenance,
            calibration=self.calibration,
            arguments=self.examples.settings,
        )
        write_folder(folder, settings, tensors, own_files=own_files, extra_files=extra_files)

    @classmethod
    def load(cls, folder: str | Path, embeddings: Embeddings | None = None) -> ToolkenSet:
        """Read the set that was saved to `folder`.

        `embeddings`: those that it was fitted with, if they can't be loaded by their name.

        Raises:
            ToolkenSetError: The folder is missing, damaged, mixed from two saves, or of an unknown format. The message
                names the file and the next step.

        Warns:
            ToolkenSetWarning: A file that was saved with the set and is no part of it (a report, a model card) has been
                changed.
        """
        saved = read_folder(folder)
        settings, tensors = saved.settings, saved.tensors
        file = Path(folder) / TENSORS_FILE
        informed = EVIDENCE_FILE in saved.files
        known = {name for name in tensors if name in _OPTIONAL_TENSORS or (informed and is_evidence(name))}
        if set(tensors) - known != {"matrix", "prior"}:
            raise ToolkenSetError(f"{file} holds {sorted(tensors)}, not 'matrix' and 'prior': fit anew")
        evidence = None
        if informed:
            try:
                evidence = Evidence.of_saved(saved.files[EVIDENCE_FILE], tensors, embeddings)
            except ToolkenSetError as error:
                raise ToolkenSetError(f"{file.with_name(EVIDENCE_FILE)}: {error}. Fit anew") from error
        names = {spec.name for spec in settings.specs}
        examples = Examples.of_files(saved.files, settings.arguments, names, Path(folder))
        try:
            return cls(
                specs=tuple(settings.specs),
                matrix=tensors["matrix"],
                prior=tensors["prior"],
                bias=settings.bias,
                provenance=settings.provenance,
                calibration=settings.calibration,
                evidence=evidence,
                examples=examples,
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
            evidence=None if self.evidence is None else self.evidence.select(indices),
            examples=self.examples.select(names),
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
