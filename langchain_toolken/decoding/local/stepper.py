"""`Stepper`: runs the rows of all jobs through the LM in one batch, step by step."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor

from langchain_toolken.decoding.engine import OutOfMemoryError
from langchain_toolken.decoding.local.batch import Batch, Row
from langchain_toolken.decoding.local.cache import PrefixCache
from langchain_toolken.decoding.local.job import Job
from langchain_toolken.decoding.local.job_queue import JobQueue
from langchain_toolken.decoding.local.request_means import RequestMeans
from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.lm.model import LanguageModel

_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class Stepper:
    """The batch that runs, and what happens to its rows after each step. Used by one thread only.

    An error in a job's own choice ends that job. An error in a pass ends all jobs that had a row in it; if memory ran
    out, each of them is tried once more, alone and with all caches dropped.

    Args:
        lm: Runs the rows.
        prefixes: Where rows find the beginnings of their prompts, and leave their caches.
        queue: The rows of all jobs.
    """

    def __init__(self, lm: LanguageModel, prefixes: PrefixCache, queue: JobQueue) -> None:
        self.lm = lm
        self._prefixes = prefixes
        self._queue = queue
        self._batch = Batch(lm)
        self._means = RequestMeans()

    @property
    def running(self) -> int:
        """How many rows are in the batch."""
        return len(self._batch.rows)

    def sweep(self) -> None:
        """Drop the rows of jobs that were ended from outside. The caller holds the queue."""
        ended = self._queue.ended
        if ended:
            running = [row for row in self._batch.rows if row in ended]
            self._keep_prefixes(self._batch, running)
            self._batch.drop(running)
            self._forget(ended)

    def admit(self, most: int) -> list[Row]:
        """Take the rows that join now, with what they find in the prefix cache. The caller holds the queue."""
        new = self._queue.admit(self.running, most)
        for row in new:
            if row.cache is None:
                usable = row.ids
                if row.span is not None:
                    row.mean = self._means.get(row.ids, row.span)
                    if row.mean is None:  # the request's tokens have to run for it
                        usable = row.ids[: row.span[0] + 1]
                row.cache, row.fed = self._prefixes.take(usable)
                row.reused = row.fed
        return new

    def step(self, new: list[Row]) -> None:
        """Run the batch by one step and the new rows to their first choice, then join them into one batch."""
        if self._batch.rows:
            rows = list(self._batch.rows)
            try:
                due, hidden = self._batch.step()
                self._choose(self._batch, due, hidden)
            except Exception as error:  # noqa: BLE001 - the callers get it
                self._batch = Batch(self.lm)
                self._failed(rows, error)
        while new:
            # Rows are padded to the longest: a group has no more padding than tokens.
            longest = max(row.pending for row in new)
            group = [row for row in new if 2 * row.pending >= longest]
            new = [row for row in new if row not in group]
            try:
                batch = Batch(self.lm, group)
                hidden = batch.start()
                self._read_requests(group)
                self._choose(batch, group, hidden)
                self._batch.join(batch)
            except Exception as error:  # noqa: BLE001 - the callers get it
                self._failed(group, error)

    def give_up(self, error: Exception) -> None:
        """End all jobs: an error outside of a pass is ours, and no caller may wait for ever because of it."""
        with self._queue.changed:
            for job in self._queue.jobs:
                job.end(error)
            self._queue.clear()
            self._batch = Batch(self.lm)

    def _read_requests(self, rows: Sequence[Row]) -> None:
        """Give the mean states of the rows' requests to their jobs' evidence."""
        for row in rows:
            if row.span is not None and row.mean is not None:
                self._means.put(row.ids, row.span, row.mean)
                evidence = self._queue.job_of(row).evidence
                assert evidence is not None
                evidence.read(self._queue.index_of(row), row.mean)

    def _choose(self, batch: Batch, due: list[Row], hidden: Tensor) -> None:
        """Let each job choose for its rows among `due`, which have the last hidden states (n, d)."""
        words = self.lm.head.word_logits(hidden)
        at: dict[Job, list[int]] = {}
        for i, row in enumerate(due):
            at.setdefault(self._queue.job_of(row), []).append(i)
        toolkens = _toolken_logits(at, hidden)
        leaving: list[Row] = []
        ended: list[Job] = []
        for job, places in at.items():
            rows = [due[i] for i in places]
            logits = words if len(places) == len(due) else words[places]
            if job in toolkens:
                states = None
                if job.evidence is not None:
                    states = job.evidence.state_logits(hidden if len(places) == len(due) else hidden[places])
                parts = [toolkens[job]] if states is None else [toolkens[job], states]
                logits = torch.cat([logits, *(part.to(words.device) for part in parts)], dim=-1)
            try:
                chosen = job.choose([self._queue.index_of(row) for row in rows], logits)
            except Exception as error:  # noqa: BLE001 - the caller gets it
                job.end(error)  # its rows are swept before the next step
                if _is_out_of_memory(error):
                    self._prefixes.clear()
                continue
            for row, tokens in zip(rows, chosen, strict=True):
                row.ids += tokens
                if not tokens:
                    leaving.append(row)
                    job.open -= 1
            if not job.open:
                ended.append(job)
        try:
            self._keep_prefixes(batch, leaving)
            with self._queue.changed:
                self._forget(leaving)
                for job in at:
                    job.steps += 1
                held_back = [row for row in batch.rows if row in self._queue and self._queue.job_of(row).held_back]
                for row in held_back:
                    row.cache = batch.cache_of(row)
                self._queue.hold_back(held_back)
            batch.drop({*leaving, *held_back})
        finally:  # the answers count even if keeping the caches fails
            for job in at:
                job.moved.set()
            for job in ended:
                job.end(None)

    def _forget(self, rows: Collection[Row]) -> None:
        """Take rows out of the queue, and put caches of their own into the prefix cache."""
        self._queue.remove(rows)
        for row in rows:
            if row.cache is not None and row.fed:
                self._prefixes.put(row.ids[: row.fed], row.cache)
                row.cache = None

    def _keep_prefixes(self, batch: Batch, rows: Iterable[Row]) -> None:
        for row in rows:
            try:
                self._prefixes.put(row.ids[: row.fed], batch.cache_of(row))
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                self._prefixes.clear()  # the row's answer counts; only the next prompt starts without a cache

    def _failed(self, rows: Sequence[Row], error: Exception) -> None:
        """Handle an error in a pass over `rows`: end their jobs, or try each once more alone if memory ran out."""
        memory = _is_out_of_memory(error)
        error.__traceback__ = None  # its frames hold tensors, and memory is short
        queue = self._queue
        with queue.changed:
            mine = [row for row in rows if row in queue]
            jobs = {queue.job_of(row) for row in mine}
            for row in mine:
                row.forget()
            hopeless = {job for job in jobs if job.tried_again or not memory}
            for job in hopeless:
                job.end(self._shortage(job, error) if memory else error)
            for job in jobs - hopeless:
                job.tried_again = True
            self._forget([row for row in mine if queue.job_of(row) in hopeless])
            queue.put_first([row for row in mine if row in queue])
            if memory:
                self._prefixes.clear()
                for row in queue.held_back:
                    row.forget()
        if memory and torch.cuda.is_available():
            gc.collect()
            torch.cuda.empty_cache()

    def _shortage(self, job: Job, error: Exception) -> OutOfMemoryError:
        longest = max(len(row.ids) for row in job.rows)
        shortage = OutOfMemoryError(
            f"{self.lm.model_id} ran out of memory on a text of {longest} tokens, twice: the second time alone and "
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


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # The CPU's allocator and other devices raise a plain RuntimeError.
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)
