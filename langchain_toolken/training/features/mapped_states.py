"""Hidden states that stay on disk and are read in pieces."""

from __future__ import annotations

from dataclasses import dataclass
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

# Rows converted at a time when mapped states are read by index, so that memory holds one copy of them, not two.
_GATHER = 8192


@dataclass(frozen=True, eq=False)
class MappedStates:
    """Hidden states (n, d) on disk, read with a slice, with indices or with a (n,) bool mask.

    Reading copies the rows asked for, as float32. `subset` is a view, so a fold of a hundred gigabytes takes 8 bytes
    per row.

    Attributes:
        file: (N, d), memory-mapped, in the dtype that the LM ran in.
        index: (n,) int64, rows of `file`; None: all of them.
        folder: The temporary folder that holds the file, if it is in one; deleted with the last view of it.
    """

    file: Tensor
    index: Tensor | None = None
    folder: TemporaryDirectory[str] | None = None

    @property
    def shape(self) -> torch.Size:
        """(n, d)."""
        return torch.Size((len(self), self.file.shape[1]))

    def numel(self) -> int:
        """Return the number of elements, n * d."""
        return len(self) * self.file.shape[1]

    def __len__(self) -> int:
        return self.file.shape[0] if self.index is None else self.index.shape[0]

    def __getitem__(self, part: slice | Tensor) -> Tensor:
        """Return the rows `part`, (m, d) float32 on the CPU."""
        if self.index is None and isinstance(part, slice):
            return self.file[part].float()
        wanted = torch.arange(len(self))[part] if self.index is None else self.index[part]
        found = torch.empty(len(wanted), self.file.shape[1])
        for start in range(0, len(wanted), _GATHER):
            found[start : start + _GATHER] = self.file[wanted[start : start + _GATHER]]
        return found

    def subset(self, kept: Tensor) -> MappedStates:
        """Return a view of the rows `kept`, given as indices or a (n,) bool mask."""
        index = torch.arange(len(self))[kept] if self.index is None else self.index[kept]
        return MappedStates(self.file, index, self.folder)
