"""`Scheduler`: decodes the jobs of all threads together (continuous batching).

One thread runs the LM. At every step it takes in the rows that wait, as far as there is room, runs all rows in one
forward pass, and lets each job choose for its own rows: toolkens, grammars and sampling differ from job to job, the
hidden states do not. A row that ends makes room for the next at once.

transformers has continuous batching of its own (`generate_batch`). It wants paged attention in place of the model's, it
gives tokens and no hidden states to put toolkens beside, and its cache cannot be taken over or cropped by us.
"""

from __future__ import annotations

import atexit
import gc
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Sequence

import torch
from torch import Tensor

from langchain_toolken.decoding.cancellation import DecodingCancelledError, current_cancellation
from langchain_toolken.decoding.engine import OutOfMemoryError
from langchain_toolken.decoding.local.batch import Batch, Row
from langchain_toolken.decoding.local.cache import PrefixCache
from langchain_toolken.decoding.local.reasoner import PlacedToolkens
from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.lm.model import LanguageModel

# Rows that have to decide (indices into the job's prompts) and their logits (n, V+K) -> the tokens each goes on with,
# none when it has ended.
Choose = Callable[[list[int], Tensor], list[list[int]]]

_LINGER = 1.0  # seconds that the thread waits for another job before it ends
_AHEAD = 32  # steps that a stream may be ahead of its reader before it makes room for others
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class Job:
    """One caller's sequences.

    Args:
        prompts: token ids, each of at least one token.
        choose: decides how rows go on. It is called in the scheduler's thread.
        toolkens: the toolkens; None for words alone.
        read_by_steps: the caller follows the steps (`Scheduler.steps`), and is not to be left far behind.
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        choose: Choose,
        toolkens: PlacedToolkens | None,
        *,
        read_by_steps: bool = False,
    ) -> None:
        self.rows = [Row(prompt) for prompt in prompts]
        self.choose = choose
        self.toolkens = toolkens
        self.open = len(self.rows)
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self.moved = threading.Event()
        self.steps = 0
        self.steps_read: int | None = 0 if read_by_steps else None
        self.tried_again = False
        if not self.rows:
            self.end(None)

    @property
    def reused(self) -> list[int]:
        """How many tokens of each prompt came out of the prefix cache."""
        return [row.reused for row in self.rows]

    @property
    def held_back(self) -> bool:
        """Whether its reader is so far behind that it has to wait."""
        return self.steps_read is not None and self.steps - self.steps_read >= _AHEAD

    def end(self, error: BaseException | None) -> None:
        """Wake the caller; the first end counts."""
        if not self.ended.is_set():
            self.error = error
            self.ended.set()
            self.moved.set()


class Scheduler:
    """Runs jobs on one LM; safe to use from any thread.

    The thread starts with a job and ends when there has been none for a second.

    Args:
        lm: what runs them.
        prefixes: where rows find the beginnings of their prompts, and leave what they came to.
        max_batch_size: most rows that run at once. May be changed at any time; what runs goes on.
    """

    def __init__(self, lm: LanguageModel, prefixes: PrefixCache, max_batch_size: int) -> None:
        self.lm = lm
        self.max_batch_size = max_batch_size
        self._prefixes = prefixes
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._jobs: dict[Row, tuple[Job, int]] = {}  # all rows that have not ended, with their index in their job
        self._waiting: deque[Row] = deque()
        self._held_back: list[Row] = []
        self._batch = Batch(self.lm)
        _SCHEDULERS.add(self)

    def run(self, job: Job) -> None:
        """Decode a job to its end. Interrupted, its rows are dropped.

        Raises:
            DecodingCancelledError: its `Cancellation` was used.
            OutOfMemoryError: memory did not suffice, even with nothing else in it.
        """
        for _ in self.steps(job):
            pass

    def steps(self, job: Job) -> Generator[None, None, None]:
        """Decode a job; gives once or more after some steps, the last time after its end. Closing drops its rows."""
        cancellation = current_cancellation.get()
        if cancellation is None:
            yield from self._follow(job)
        else:
            with cancellation.stopping(lambda: self._cancel(job)):
                yield from self._follow(job)

    def _follow(self, job: Job) -> Generator[None, None, None]:
        followed = job.steps_read is not None
        try:
            self._submit(job)
            while not job.ended.is_set():
                (job.moved if followed else job.ended).wait()
                job.moved.clear()
                if followed:
                    self._catch_up(job)
                    yield
            if job.error is not None:
                raise job.error
            yield
        finally:
            self._cancel(job)

    @property
    def size(self) -> int:
        """How many rows have not ended: they run, wait for room, or wait for their reader."""
        with self._changed:
            return len(self._jobs)

    def stop(self) -> None:
        """End all jobs, and wait for the thread to end: at the latest after the step that it is at."""
        with self._changed:
            thread = self._thread
            for job, _ in list(self._jobs.values()):
                job.end(DecodingCancelledError("the interpreter is about to end"))
            self._thread = None
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def _submit(self, job: Job) -> None:
        with self._changed:
            if job.ended.is_set():
                return
            for index, row in enumerate(job.rows):
                self._jobs[row] = (job, index)
            self._waiting += job.rows
            self._wake()

    def _cancel(self, job: Job) -> None:
        if not job.ended.is_set():
            with self._changed:
                job.end(DecodingCancelledError("the call was cancelled"))
                self._wake()

    def _catch_up(self, job: Job) -> None:
        with self._changed:
            was_held_back = job.held_back
            job.steps_read = job.steps
            if was_held_back:
                self._wake()

    def _wake(self) -> None:
        # A fork has the thread object and not the thread.
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="toolken-decoding", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    @torch.inference_mode()
    def _work(self) -> None:
        while True:
            try:
                with self._changed:
                    self._sweep()
                    new = self._admitted()
                    if not new and not self._batch.rows:
                        mine = self._thread is threading.current_thread()
                        if mine and (self._changed.wait(_LINGER) or len(self._jobs) > len(self._held_back)):
                            continue
                        if mine:
                            self._thread = None
                        return
                self._step(new)
            except Exception as error:  # noqa: BLE001 - callers would wait for ever
                self._give_up(error)

    def _sweep(self) -> None:
        """Drop the rows of jobs that were ended from outside."""
        ended = [row for row, (job, _) in self._jobs.items() if job.ended.is_set()]
        if ended:
            running = [row for row in self._batch.rows if row in ended]
            self._keep_prefixes(self._batch, running)
            self._batch.drop(running)
            self._forget(ended)

    def _forget(self, rows: Collection[Row]) -> None:
        """Take rows out of the books."""
        for row in rows:
            self._jobs.pop(row, None)
            if row.cache is not None and row.fed:
                self._prefixes.put(row.ids[: row.fed], row.cache)
                row.cache = None
        self._waiting = deque(row for row in self._waiting if row not in rows)
        self._held_back = [row for row in self._held_back if row not in rows]

    def _admitted(self) -> list[Row]:
        """The rows that join now, with what they find in the prefix cache."""
        back = [row for row in self._held_back if not self._jobs[row][0].held_back]
        self._held_back = [row for row in self._held_back if row not in back]
        self._waiting.extendleft(reversed(back))
        alone = any(job.tried_again for job, _ in self._jobs.values())
        room = (1 if alone else self.max_batch_size) - len(self._batch.rows)
        new: list[Row] = []
        while self._waiting and len(new) < room:
            row = self._waiting.popleft()
            if row.cache is None:
                row.cache, row.fed = self._prefixes.take(row.ids)
                row.reused = row.fed
            new.append(row)
        return new

    def _step(self, new: list[Row]) -> None:
        """Run the rows of the batch by a step and the new ones to their first choice; then they are one batch."""
        if self._batch.rows:
            rows = list(self._batch.rows)
            try:
                due, hidden = self._batch.step()
                self._choose(self._batch, due, hidden)
            except Exception as error:  # noqa: BLE001 - handed to the callers
                self._batch = Batch(self.lm)
                self._failed(rows, error)
        while new:
            # Rows are padded to the longest: a group has no more padding than tokens.
            longest = max(row.pending for row in new)
            group = [row for row in new if 2 * row.pending >= longest]
            new = [row for row in new if row not in group]
            try:
                batch = Batch(self.lm, group)
                self._choose(batch, group, batch.start())
                self._batch.join(batch)
            except Exception as error:  # noqa: BLE001 - handed to the callers
                self._failed(group, error)

    def _choose(self, batch: Batch, due: list[Row], hidden: Tensor) -> None:
        words = self.lm.head.word_logits(hidden)
        at: dict[Job, list[int]] = {}
        for i, row in enumerate(due):
            at.setdefault(self._jobs[row][0], []).append(i)
        toolkens = self._toolken_logits(at, hidden)
        leaving: list[Row] = []
        ended: list[Job] = []
        for job, places in at.items():
            rows = [due[i] for i in places]
            logits = words if len(places) == len(due) else words[places]
            if job in toolkens:
                logits = torch.cat([logits, toolkens[job].to(words.device)], dim=-1)
            try:
                chosen = job.choose([self._jobs[row][1] for row in rows], logits)
            except Exception as error:  # noqa: BLE001 - handed to the caller
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
            with self._changed:
                self._forget(leaving)
                for job in at:
                    job.steps += 1
                held_back = [row for row in batch.rows if row in self._jobs and self._jobs[row][0].held_back]
                for row in held_back:
                    row.cache = batch.cache_of(row)
                self._held_back += held_back
            batch.drop({*leaving, *held_back})
        finally:  # answers stand, whatever becomes of the caches
            for job in at:
                job.moved.set()
            for job in ended:
                job.end(None)

    def _toolken_logits(self, at: dict[Job, list[int]], hidden: Tensor) -> dict[Job, Tensor]:
        """h·W + b (n, K) for the rows `at` which each job with toolkens has some; jobs with one matrix together."""
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

    def _keep_prefixes(self, batch: Batch, rows: Iterable[Row]) -> None:
        for row in rows:
            try:
                self._prefixes.put(row.ids[: row.fed], batch.cache_of(row))
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                self._prefixes.clear()  # the row's answer stands; only the next prompt is read anew

    def _failed(self, rows: Sequence[Row], error: Exception) -> None:
        """After an error in a pass over `rows`: where memory was short, each job is tried once more, alone."""
        memory = _is_out_of_memory(error)
        error.__traceback__ = None  # its frames hold the tensors that memory is short of
        with self._changed:
            mine = [row for row in rows if row in self._jobs]
            jobs = {self._jobs[row][0] for row in mine}
            for row in mine:
                row.forget()
            hopeless = {job for job in jobs if job.tried_again or not memory}
            for job in hopeless:
                job.end(self._shortage(job, error) if memory else error)
            for job in jobs - hopeless:
                job.tried_again = True
            self._forget([row for row in mine if self._jobs[row][0] in hopeless])
            self._waiting.extendleft(reversed([row for row in mine if row in self._jobs]))
            if memory:
                self._prefixes.clear()
                for row in self._held_back:
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

    def _give_up(self, error: Exception) -> None:
        """An error outside of a pass is ours, and nobody is to wait because of it."""
        with self._changed:
            for job, _ in list(self._jobs.values()):
                job.end(error)
            self._jobs.clear()
            self._waiting.clear()
            self._held_back.clear()
            self._batch = Batch(self.lm)


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # The CPU's allocator and other devices raise a plain RuntimeError.
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


_SCHEDULERS: weakref.WeakSet[Scheduler] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    # A thread that comes back from the LM into an interpreter that is gone would abort the process.
    for scheduler in list(_SCHEDULERS):
        scheduler.stop()
