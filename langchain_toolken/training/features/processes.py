"""Several processes that fit together, as started by `torchrun` or `accelerate launch --multi_gpu`.

On CPUs use torchrun: `accelerate launch --cpu` starts only one process (1.15, without MPI).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

import torch
from torch import distributed

# The others wait while the main process solves.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True, eq=False)
class Processes:
    """This process among those that fit together.

    Attributes:
        rank: Its number; 0 is the main process.
        count: Number of processes.
        group: The group that they exchange data in, None for a single process.
    """

    rank: int = 0
    count: int = 1
    group: distributed.ProcessGroup | None = None

    @property
    def main(self) -> bool:
        """Whether this is the main process, which solves and reports."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.count > 1:
            distributed.barrier(group=self.group)

    def broadcast(self, content: bytes) -> bytes:
        """Return the main process's `content` in every process."""
        if self.count == 1:
            return content
        length = torch.tensor([len(content)])
        distributed.broadcast(length, src=0, group=self.group)
        said = torch.zeros(int(length), dtype=torch.uint8)
        if self.main:
            said.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        distributed.broadcast(said, src=0, group=self.group)
        return said.numpy().tobytes()


def join_processes() -> Processes:
    """Join the processes that this one was launched with, if any.

    Call it before loading the LM: accelerate chooses the backend and, on GPUs, each process's device.
    """
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ
    if not distributed.is_available() or not (launched or distributed.is_initialized()):
        return Processes()
    return _joined()


@cache
def _joined() -> Processes:
    if not distributed.is_initialized():
        from accelerate import PartialState

        PartialState()
    # The data exchanged is on the CPU, which the default group's backend may not support.
    group = distributed.new_group(backend="gloo", timeout=_PATIENCE)
    return Processes(distributed.get_rank(), distributed.get_world_size(), group)
