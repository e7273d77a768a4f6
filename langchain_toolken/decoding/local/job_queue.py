"""`JobQueue`: which rows of all jobs wait, and which job each row belongs to."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterable, Sequence

from langchain_toolken.decoding.local.job import Job
from langchain_toolken.decoding.local.row import Row


class JobQueue:
    """The rows of all jobs that have not ended. A row waits for room, is held back for its reader, or runs.

    Attributes:
        changed: Hold it to read or change the queue, and notify it to make the thread that runs the rows look again.
            Only that thread removes rows, so it may look up a row's job without holding it.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._places: dict[Row, tuple[Job, int]] = {}  # each row's job, and its index in the job
        self._waiting: deque[Row] = deque()
        self._held_back: list[Row] = []

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, row: Row) -> bool:
        return row in self._places

    @property
    def jobs(self) -> list[Job]:
        """The jobs that the rows belong to, once for each row."""
        return [job for job, _ in self._places.values()]

    @property
    def held_back(self) -> Sequence[Row]:
        """The rows that wait for their readers."""
        return self._held_back

    @property
    def all_held_back(self) -> bool:
        """Whether nothing is left to run until a reader catches up."""
        return len(self._places) <= len(self._held_back)

    @property
    def ended(self) -> list[Row]:
        """The rows of jobs that were ended from outside."""
        return [row for row, (job, _) in self._places.items() if job.ended.is_set()]

    def job_of(self, row: Row) -> Job:
        """Return the job that a row belongs to."""
        return self._places[row][0]

    def index_of(self, row: Row) -> int:
        """Return which of its job's prompts a row is."""
        return self._places[row][1]

    def add(self, job: Job) -> None:
        """Let all rows of a job wait for room."""
        for index, row in enumerate(job.rows):
            self._places[row] = (job, index)
        self._waiting += job.rows

    def admit(self, running: int, most: int) -> list[Row]:
        """Take out the rows that may join `running` others, so that at most `most` run at once.

        Rows whose readers have caught up come first. After a lack of memory, rows run one at a time.
        """
        back = [row for row in self._held_back if not self.job_of(row).held_back]
        self._held_back = [row for row in self._held_back if row not in back]
        self.put_first(back)
        alone = any(job.tried_again for job in self.jobs)
        room = (1 if alone else most) - running
        new: list[Row] = []
        while self._waiting and len(new) < room:
            new.append(self._waiting.popleft())
        return new

    def put_first(self, rows: Sequence[Row]) -> None:
        """Let rows wait at the front, in their order."""
        self._waiting.extendleft(reversed(rows))

    def hold_back(self, rows: Iterable[Row]) -> None:
        """Let rows wait for their readers."""
        self._held_back += rows

    def remove(self, rows: Collection[Row]) -> None:
        """Take rows out."""
        for row in rows:
            self._places.pop(row, None)
        self._waiting = deque(row for row in self._waiting if row not in rows)
        self._held_back = [row for row in self._held_back if row not in rows]

    def clear(self) -> None:
        """Take all rows out."""
        self._places.clear()
        self._waiting.clear()
        self._held_back.clear()
