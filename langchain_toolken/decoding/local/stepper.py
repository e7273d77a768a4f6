"""`Stepper`: runs the rows of all jobs through the LM together, step by step."""

from __future__ import annotations

import gc
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from langchain_toolken.decoding.engine import OutOfMemoryError
from langchain_toolken.decoding.local.job import Job
from langchain_toolken.decoding.local.job_queue import JobQueue
from langchain_toolken.decoding.local.request_means import RequestMeans
from langchain_toolken.decoding.local.row import Row
from langchain_toolken.decoding.local.runner import Due, Runner
from langchain_toolken.decoding.local.short_memory import is_out_of_memory
from langchain_toolken.lm.head import toolken_logits


class Stepper:
    """The rows that run, and what happens to them after each step. Used by one thread only.

    An error in a job's own choice ends that job. An error in a pass ends all jobs that had a row in it; if memory ran
    out, each of them is tried once more, alone and with all caches dropped.

    Args:
        runner: Runs the rows.
        queue: The rows of all jobs.
        model_id: The LM's name, for errors.
    """

    def __init__(self, runner: Runner, queue: JobQueue, model_id: str) -> None:
        self._runner = runner
        self._queue = queue
        self._model_id = model_id
        self._means = RequestMeans()

    @property
    def running(self) -> int:
        """How many rows run."""
        return len(self._runner.rows)

    def sweep(self) -> None:
        """Drop the rows of jobs that were ended from outside. The caller holds the queue."""
        if ended := self._queue.ended:
            self._end(ended)

    def admit(self, most: int) -> list[Row]:
        """Take the rows that join now, with what they find in the prefix cache. The caller holds the queue."""
        new = self._queue.admit(self.running, most)
        for row in new:
            if not row.fed:
                usable = len(row.ids)
                if row.span is not None:
                    row.mean = self._means.get(row.ids, row.span)
                    if row.mean is None:  # the request's tokens have to run for it
                        usable = row.span[0] + 1
                self._runner.resume(row, usable)
                row.reused = row.fed
        return new

    def step(self, new: list[Row]) -> None:
        """Run the rows by one step, and the new rows to their first choice."""
        rows = list(self._runner.rows)
        if rows:
            try:
                self._choose(self._runner.step())
            except Exception as error:  # noqa: BLE001 - the callers get it
                self._failed(rows, error)
        for group in self._runner.groups(new):
            try:
                due = self._runner.start(group)
                self._read_requests(group)
                self._choose(due)
            except Exception as error:  # noqa: BLE001 - the callers get it
                self._failed(group, error)

    def give_up(self, error: Exception) -> None:
        """End all jobs: an error outside of a pass is ours, and no caller may wait for ever because of it."""
        with self._queue.changed:
            for job in self._queue.jobs:
                job.end(error)
            self._queue.clear()
            self._runner.forget(list(self._runner.rows))

    def _read_requests(self, rows: Sequence[Row]) -> None:
        """Give the mean states of the rows' requests to their jobs' evidence."""
        for row in rows:
            if row.span is not None and row.mean is not None:
                self._means.put(row.ids, row.span, row.mean)
                evidence = self._queue.job_of(row).evidence
                assert evidence is not None
                evidence.read(self._queue.index_of(row), row.mean)

    def _choose(self, due: Due) -> None:
        """Let each job choose for its rows among those that are due."""
        hidden, words = due.hidden, due.words
        at: dict[Job, list[int]] = {}
        for i, row in enumerate(due.rows):
            at.setdefault(self._queue.job_of(row), []).append(i)
        toolkens = _toolken_logits(at, hidden)
        leaving: list[Row] = []
        ended: list[Job] = []
        for job, places in at.items():
            rows = [due.rows[i] for i in places]
            logits = words if len(places) == len(due.rows) else words[places]
            if job in toolkens:
                states = None
                if job.evidence is not None:
                    states = job.evidence.state_logits(hidden if len(places) == len(due.rows) else hidden[places])
                parts = [toolkens[job]] if states is None else [toolkens[job], states]
                logits = torch.cat([logits, *(part.to(words.device) for part in parts)], dim=-1)
            try:
                chosen = job.choose([self._queue.index_of(row) for row in rows], logits)
            except Exception as error:  # noqa: BLE001 - the caller gets it
                job.end(error)  # its rows are swept before the next step
                if is_out_of_memory(error):
                    self._runner.clear()
                continue
            for row, tokens in zip(rows, chosen, strict=True):
                row.ids += tokens
                if not tokens:
                    leaving.append(row)
                    job.open -= 1
            if not job.open:
                ended.append(job)
        try:
            self._runner.end(leaving)
            with self._queue.changed:
                self._queue.remove(leaving)
                for job in at:
                    job.steps += 1
                running = [row for row in self._runner.rows if row in self._queue]
                held_back = [row for row in running if self._queue.job_of(row).held_back]
                self._runner.hold(held_back)
                self._queue.hold_back(held_back)
        finally:  # the answers count even if keeping the caches fails
            for job in at:
                job.moved.set()
            for job in ended:
                job.end(None)

    def _end(self, rows: Collection[Row]) -> None:
        self._queue.remove(rows)
        self._runner.end(rows)

    def _failed(self, rows: Sequence[Row], error: Exception) -> None:
        """Handle an error in a pass over `rows`: end their jobs, or try each once more alone if memory ran out."""
        memory = is_out_of_memory(error)
        error.__traceback__ = None  # its frames hold tensors, and memory is short
        queue = self._queue
        with queue.changed:
            self._runner.forget(rows)
            mine = [row for row in rows if row in queue]
            jobs = {queue.job_of(row) for row in mine}
            for row in mine:
                row.restart()
            hopeless = {job for job in jobs if job.tried_again or not memory}
            for job in hopeless:
                job.end(self._shortage(job, error) if memory else error)
            for job in jobs - hopeless:
                job.tried_again = True
            queue.remove([row for row in mine if queue.job_of(row) in hopeless])
            queue.put_first([row for row in mine if row in queue])
            if memory:
                self._runner.clear()
                self._runner.forget(queue.held_back)
                for row in queue.held_back:
                    row.restart()
        if memory and torch.cuda.is_available():
            gc.collect()
            torch.cuda.empty_cache()

    def _shortage(self, job: Job, error: Exception) -> OutOfMemoryError:
        longest = max(len(row.ids) for row in job.rows)
        shortage = OutOfMemoryError(
            f"{self._model_id} ran out of memory on a text of {longest} tokens, twice: the second time alone and "
            "with all caches dropped. Shorten the messages, load the LM in a smaller dtype, or take a smaller LM. "
            f"Reason: {error}"
        )
        shortage.__cause__ = error
        return shortage


def _toolken_logits(at: dict[Job, list[int]], hidden: Tensor) -> dict[Job, Tensor]:
    """Compute toolken logits (n, K), with the masks applied, for each job's rows `at`; one product for each matrix."""
    sharing: dict[tuple[int, int], list[Job]] = {}
    for job in at:
        if job.toolkens is not None:
            sharing.setdefault((id(job.toolkens.matrix), id(job.toolkens.biases)), []).append(job)
    found: dict[Job, Tensor] = {}
    for jobs in sharing.values():
        places = [i for job in jobs for i in at[job]]
        placed = jobs[0].toolkens
        assert placed is not None
        logits = toolken_logits(hidden[places], placed.matrix, placed.biases)
        start = 0
        for job in jobs:
            part = logits[start : start + len(at[job])]
            start += len(at[job])
            mask = job.toolkens.mask if job.toolkens is not None else None
            found[job] = part if mask is None else part.masked_fill(~mask, float("-inf"))
    return found
