"""`Scheduler`: decodes the jobs of all threads together (continuous batching).

One thread runs the LM. At every step it lets in waiting rows, as far as there is room, runs all rows in one forward
pass, and lets each job choose for its own rows: toolkens, grammars and sampling differ between jobs, the hidden states
do not. A row that ends makes room for the next at once.

transformers has its own continuous batching (`generate_batch`). It replaces the model's attention by a paged one, it
returns tokens and not the hidden states that toolkens need, and its cache can be neither taken over nor cropped.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, TypeVar

import torch

from langchain_toolken.decoding.cancellation import DecodingCancelledError, current_cancellation
from langchain_toolken.decoding.local.job import Job
from langchain_toolken.decoding.local.job_queue import JobQueue
from langchain_toolken.decoding.local.runner import Runner
from langchain_toolken.decoding.local.stepper import Stepper

T = TypeVar("T")

_LINGER = 1.0  # seconds that the thread waits for another job before it ends


class Scheduler:
    """Runs jobs on one LM; safe to use from any thread.

    Its thread starts with a job, and ends after a second without one.

    Args:
        runner: Runs their rows.
        max_batch_size: Most rows that run at once. It may be changed at any time; rows that run already continue.
        model_id: The LM's name, for errors.
    """

    def __init__(self, runner: Runner, max_batch_size: int, model_id: str) -> None:
        self.max_batch_size = max_batch_size
        self._queue = JobQueue()
        self._stepper = Stepper(runner, self._queue, model_id)
        self._asides: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._thread: threading.Thread | None = None
        _SCHEDULERS.add(self)

    @property
    def size(self) -> int:
        """How many rows have not ended: they run, wait for room, or wait for their reader."""
        with self._queue.changed:
            return len(self._queue)

    def run(self, job: Job) -> None:
        """Decode a job to its end. If this is interrupted, its rows are dropped.

        Raises:
            DecodingCancelledError: The context's `Cancellation` was used.
            OutOfMemoryError: Memory ran out, even for the job alone.
            Exception: Whatever the job's `choose` raised.
        """
        for _ in self.steps(job):
            pass

    def aside(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, which uses the LM by itself. It runs between two steps, and never beside one."""
        result = Future[T]()
        with self._queue.changed:
            self._asides.append((result, call))
            self._wake()
        return result.result()

    def steps(self, job: Job) -> Generator[None, None, None]:
        """Decode a job, yielding after one or more steps and once after the end. Closing it drops the job's rows."""
        cancellation = current_cancellation.get()
        if cancellation is None:
            yield from self._follow(job)
        else:
            with cancellation.stopping(lambda: self._cancel(job)):
                yield from self._follow(job)

    def stop(self) -> None:
        """End all jobs, and wait for the thread, which ends with its current step at the latest."""
        with self._queue.changed:
            thread = self._thread
            ending = DecodingCancelledError("the interpreter is about to end")
            for job in self._queue.jobs:
                job.end(ending)
            for result, _ in self._asides:
                result.set_exception(ending)
            self._asides.clear()
            self._thread = None
            self._queue.changed.notify_all()
        if thread is not None:
            thread.join()

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

    def _submit(self, job: Job) -> None:
        with self._queue.changed:
            if not job.ended.is_set():
                self._queue.add(job)
                self._wake()

    def _cancel(self, job: Job) -> None:
        if not job.ended.is_set():
            with self._queue.changed:
                job.end(DecodingCancelledError("the call was cancelled"))
                self._wake()

    def _catch_up(self, job: Job) -> None:
        with self._queue.changed:
            was_held_back = job.held_back
            job.steps_read = job.steps
            if was_held_back:
                self._wake()

    def _wake(self) -> None:
        # After a fork there is the thread's object, but no thread.
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="toolken-decoding", daemon=True)
            self._thread.start()
        self._queue.changed.notify_all()

    @torch.inference_mode()
    def _work(self) -> None:
        queue, stepper = self._queue, self._stepper
        while True:
            try:
                with queue.changed:
                    stepper.sweep()
                    new = stepper.admit(self.max_batch_size)
                    aside = self._asides.popleft() if self._asides else None
                    if aside is None and not new and not stepper.running:
                        mine = self._thread is threading.current_thread()
                        if mine and (queue.changed.wait(_LINGER) or not queue.all_held_back):
                            continue
                        if mine:
                            self._thread = None
                        return
                if aside is not None:
                    _finish(*aside)
                stepper.step(new)
            except Exception as error:  # noqa: BLE001 - the callers would wait for ever
                stepper.give_up(error)


def _finish(result: Future[T], call: Callable[[], T]) -> None:
    try:
        result.set_result(call())
    except Exception as error:  # noqa: BLE001 - the caller gets it
        result.set_exception(error)


_SCHEDULERS: weakref.WeakSet[Scheduler] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    # A thread that returns from the LM into an interpreter that is gone would abort the process.
    for scheduler in list(_SCHEDULERS):
        scheduler.stop()
