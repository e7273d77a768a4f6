"""Measure memory and time of a solve as the number of tools and the hidden size grow, up to 47,000 tools x d=4,096.

    OMP_NUM_THREADS=1 python benchmarks/scale.py --out scale.json

Each problem runs in its own process. It draws a direction for every tool, draws hidden states around these directions
(and others around none, for words), writes them to a features folder in bfloat16 as `fit` does, memory-maps them, and
solves from priors that point slightly in the right direction. It reports the peak memory of the solve (and the bound of
`solver.peak_bytes`), processor seconds per epoch or L-BFGS step, the gradient's norm relative to that at the prior, the
loss at the prior and at the end, and how many of 1,000 new calls have the right tool first, with the prior and with the
solution.

The last problem has 47,000 tools of d=4,096, the whole toolken matrix, and a part of the positions. Time is linear in
positions, so that of any number of them follows; memory grows by 64 bytes per position. Needs Linux (/proc) and 5 GB.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Annotated, Literal

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import normalize

from langchain_toolken.disk.writing import writing
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.features.manifest import FeatureSource
from langchain_toolken.training.features.mapped_states import MappedStates
from langchain_toolken.training.features.store import FeatureStore
from langchain_toolken.training.solve.solver import ConvergenceWarning, choose_solver, peak_bytes, solve

Solver = Literal["lbfgs", "stochastic"]

FULL_TOOLS, FULL_SIZE = 47_000, 4_096
# As many tools as ToolBench has, ten demonstrations each, with one or eight word positions per call.
FULL_POSITIONS = {"one word a call": 470_000 * 2, "eight words a call": 470_000 * 9}
LAM = 1e-5
BATCH = 4096  # positions written at once
FRESH = 1000
# WORDS: the words' log-sum-exp, and about the logit that the right toolken learns. A prior's row has PRIOR_LENGTH, but
# only PRIOR_COSINE of it points in the tool's direction.
WORDS, PRIOR_LENGTH, PRIOR_COSINE = 14.0, 10.0, 0.3


@dataclass(frozen=True)
class Rung:
    """One problem.

    Attributes:
        tools: K.
        size: d.
        calls: Positions that call a tool.
        words: Positions that a word follows.
        steps: Most epochs or L-BFGS steps.
        solver: None for the one that `fit` chooses.
    """

    tools: int
    size: int
    calls: int
    words: int
    steps: int
    solver: Solver | None = None

    @property
    def chosen(self) -> Solver:
        return self.solver or choose_solver(self.tools, self.size, self.calls)

    def __str__(self) -> str:
        return f"{self.tools:,} x {self.size:,}, {self.calls:,} calls and {self.words:,} words, {self.chosen}"


LADDER = (
    Rung(2_000, 512, 4_000, 4_000, 40),
    Rung(2_000, 4_096, 1_000, 1_000, 30),
    Rung(8_000, 1_024, 2_000, 2_000, 30),
    # Few enough calls for L-BFGS; with one or more for every tool it would be the stochastic solver's.
    Rung(47_000, 128, 2_000, 1_000, 24, "stochastic"),
    Rung(FULL_TOOLS, FULL_SIZE, 256, 256, 1),
    Rung(FULL_TOOLS, FULL_SIZE, 1_024, 1_024, 1),
)


@dataclass(frozen=True)
class Measured:
    """The figures of one problem.

    Attributes:
        rung: The problem.
        store_bytes: Size of the features folder.
        solve_bytes: Peak anonymous memory while solving, minus that before.
        bound_bytes: `peak_bytes`.
        peak_rss: Peak memory of the whole process while solving, including mapped pages of the features.
        seconds: Wall-clock time of the solve.
        pass_cpu: Processor seconds of one exact gradient.
        step_cpu: Processor seconds of the rest, per epoch or L-BFGS step.
        steps: Epochs or L-BFGS steps.
        gradient: Norm of the gradient, relative to that at the prior.
        converged: Whether the solve converged.
        prior_loss: Loss at the prior.
        loss: Loss at the end.
        prior_top1: Share of new calls that have the right tool first, with the prior.
        top1: The same with the solution.
    """

    rung: Rung
    store_bytes: int
    solve_bytes: int
    bound_bytes: int
    peak_rss: int
    seconds: float
    pass_cpu: float
    step_cpu: float
    steps: int
    gradient: float
    converged: bool
    prior_loss: float
    loss: float
    prior_top1: float
    top1: float


class PeakMemory:
    """Peak memory of this process in bytes, anonymous and total, sampled 50 times a second."""

    def __init__(self) -> None:
        self.anonymous = self.whole = 0

    def sample(self) -> None:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
        self.anonymous = max(self.anonymous, 1024 * kilobytes["RssAnon"])
        self.whole = max(self.whole, 1024 * kilobytes["VmRSS"])


@contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    peak, stop = PeakMemory(), Event()

    def watch() -> None:
        while not stop.wait(0.02):
            peak.sample()

    peak.sample()
    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
        peak.sample()


def noise(rows: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw random directions, (rows, size)."""
    return normalize(torch.randn(rows, size, generator=generator), dim=1)


def states(planted: Tensor, target: Tensor, generator: torch.Generator) -> Tensor:
    """Draw hidden states (n, d) of length sqrt(d), as after an RMSNorm: half the tool's direction, half random."""
    found = noise(len(target), planted.shape[1], generator)
    called = (target >= 0).nonzero()[:, 0]
    found[called] += planted[target[called]]
    return normalize(found, dim=1) * planted.shape[1] ** 0.5


def written(folder: Path, rung: Rung, planted: Tensor, target: Tensor, generator: torch.Generator) -> Features:
    """Write made-up states to a features folder, and map them."""
    positions = len(target)
    source = FeatureSource(
        model="made up",
        head_fingerprint="",
        weights_fingerprint="",
        tokenizer_fingerprint="",
        dtype="bfloat16",
        tools=rung.tools,
        style="completion",
        reinjection=None,
        negatives_per_demonstration=None,
        seed=0,
        demonstrations="",
    )
    rows = [*range(0, positions, BATCH), positions]
    targets = {"target": target, "weight": torch.ones(positions), "demonstration": torch.arange(positions)}
    store = FeatureStore.create(
        folder, source, batch_tokens=BATCH, hidden_size=rung.size, rows=rows, targets=targets, durable=False
    )
    for batch, (first, last) in enumerate(pairwise(rows)):
        logsumexp = WORDS + torch.randn(last - first, generator=generator)
        logit = torch.where(target[first:last] < 0, logsumexp - 1.5, 0.0)
        words = torch.stack([logsumexp, logsumexp - 1, logit], dim=1)
        store.write(batch, states(planted, target[first:last], generator).bfloat16(), words)
    return Features.from_columns(MappedStates(store.hidden()), store.columns())


def measure(rung: Rung, tolerance: float) -> Measured:
    generator = torch.Generator().manual_seed(0)
    planted = torch.empty(rung.tools, rung.size)
    prior = torch.empty_like(planted)
    for part in torch.arange(rung.tools).split(BATCH):
        planted[part] = noise(len(part), rung.size, generator)
        aside = noise(len(part), rung.size, generator) * (1 - PRIOR_COSINE**2) ** 0.5
        prior[part] = (PRIOR_COSINE * planted[part] + aside) * (PRIOR_LENGTH / rung.size**0.5)
    called = torch.randperm(rung.tools, generator=generator)[: rung.calls]
    target = torch.cat([called.repeat(-(-rung.calls // len(called)))[: rung.calls], torch.full((rung.words,), -1)])
    target = target[torch.randperm(len(target), generator=generator)]
    asked = called[torch.randint(len(called), (FRESH,), generator=generator)]
    fresh = states(planted, asked, generator)

    def top1(matrix: Tensor) -> float:
        return float(((fresh @ matrix.T).argmax(dim=1) == asked).float().mean())

    with TemporaryDirectory(prefix="toolken-scale-") as folder:
        features = written(Path(folder, "features"), rung, planted, target, generator)
        stored = sum(file.stat().st_size for file in Path(folder, "features").iterdir())
        del planted
        warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` reports it
        shown = time.perf_counter()

        def show(done: int, total: int, what: str) -> None:
            nonlocal shown
            if time.perf_counter() - shown > 10:
                shown = time.perf_counter()
                print(f"  {rung}: {what}, {done} of {total}", file=sys.stderr, flush=True)

        began = time.process_time()
        start = solve(features, prior, LAM, max_iterations=0, solver=rung.chosen)
        pass_cpu = time.process_time() - began
        before = PeakMemory()
        before.sample()
        began = time.process_time()
        with peak_memory() as peak:
            found = solve(
                features,
                prior,
                LAM,
                tolerance=tolerance,
                max_iterations=rung.steps,
                solver=rung.chosen,
                progress=show,
            )
        step_cpu = (time.process_time() - began - pass_cpu) / max(1, found.iterations)
        return Measured(
            rung=rung,
            store_bytes=stored,
            solve_bytes=peak.anonymous - before.anonymous,
            bound_bytes=peak_bytes(rung.tools, rung.size, len(features), rung.calls, solver=rung.chosen),
            peak_rss=peak.whole,
            seconds=found.seconds,
            pass_cpu=pass_cpu,
            step_cpu=step_cpu,
            steps=found.iterations,
            gradient=found.gradient_norm / found.start_gradient_norm,
            converged=found.converged,
            prior_loss=start.loss,
            loss=found.loss,
            prior_top1=top1(prior),
            top1=top1(found.matrix),
        )


def print_ladder(console: Console, results: list[Measured]) -> None:
    table = Table("tools x d", "positions", "solver", "held MB", "bound MB", "peak RSS MB", "CPU s/step", "steps")
    for name in ("gradient", "loss: prior", "end", "top-1: prior", "end", "GFLOP/s"):
        table.add_column(name)
    for found in results:
        rung, positions = found.rung, found.rung.calls + found.rung.words
        stochastic = rung.chosen == "stochastic"
        table.add_row(
            f"{rung.tools:,} x {rung.size:,}",
            f"{positions:,}",
            rung.chosen,
            f"{found.solve_bytes / 1e6:,.0f}",
            f"{found.bound_bytes / 1e6:,.0f}",
            f"{found.peak_rss / 1e6:,.0f}",
            f"{found.step_cpu:.1f}",
            str(found.steps),
            f"{found.gradient:.2g}",
            f"{found.prior_loss:.3f}",
            f"{found.loss:.3f}",
            f"{found.prior_top1:.3f}",
            f"{found.top1:.3f}",
            f"{epoch_flops(positions, rung.tools, rung.size) / found.step_cpu / 1e9:.0f}" if stochastic else "",
        )
    console.print(table)


def epoch_flops(positions: int, tools: int, size: int) -> float:
    """Return the FLOP of the products in one epoch of the stochastic solver."""
    return 10.0 * positions * tools * size


def print_full(console: Console, results: list[Measured]) -> None:
    """Extrapolate to all positions of 47,000 tools x d=4,096 from the largest part measured."""
    whole = [found for found in results if (found.rung.tools, found.rung.size) == (FULL_TOOLS, FULL_SIZE)]
    if not whole:
        return
    for found in whole:
        positions = found.rung.calls + found.rung.words
        console.print(f"{positions:,} positions: {found.step_cpu / positions * 1e3:.1f} ms of a core each an epoch")
    slice_ = max(whole, key=lambda found: found.rung.calls + found.rung.words)
    each = slice_.step_cpu / (slice_.rung.calls + slice_.rung.words)
    matrix = 4 * FULL_TOOLS * FULL_SIZE
    for what, positions in FULL_POSITIONS.items():
        calls = FULL_TOOLS * 10
        console.print(
            f"{FULL_TOOLS:,} tools x d={FULL_SIZE:,}, ten demonstrations each, {what} ({positions:,} positions): "
            f"{peak_bytes(FULL_TOOLS, FULL_SIZE, positions, calls) / 1e9:.1f} GB and the prior's {matrix / 1e9:.1f} GB "
            f"in memory, {positions * (2 * FULL_SIZE + 32) / 1e9:.0f} GB on disk, "
            f"{epoch_flops(positions, FULL_TOOLS, FULL_SIZE) / 1e15:.1f} PFLOP and {each * positions / 3600:.0f} h of "
            "such a core an epoch"
        )


def main(
    out: Annotated[Path | None, typer.Option(help="Also write the results here, as JSON.")] = None,
    only: Annotated[list[int] | None, typer.Option(help="Run only these problems, numbered from 0.")] = None,
    tolerance: Annotated[
        float, typer.Option(help="Gradient norm at which to stop, relative to that at the prior.")
    ] = 1e-3,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Measure the problems one after another."""
    console = Console()
    results: list[Measured] = []
    for number in only or range(len(LADDER)):
        console.print(f"rung {number}: {LADDER[number]}", style="dim")
        # Separate processes, so that one problem's memory does not count for the next.
        with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
            results.append(pool.submit(measure, LADDER[number], tolerance).result())
        print_ladder(console, results[-1:])
        if out is not None:
            with writing(out):
                out.write_text(json.dumps([asdict(found) for found in results], indent=1), encoding="utf-8")
    print_ladder(console, results)
    print_full(console, results)


if __name__ == "__main__":
    typer.run(main)
