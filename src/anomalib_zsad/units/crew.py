"""Workers that pull tasks: whoever they are, one that dies is replaced, and its task is done again, up to a point."""

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

MOST_ATTEMPTS = 3
"""So often a task may end the worker that does it."""


class Hands(Protocol):
    """What does tasks, in a worker."""

    def describe(self) -> Any:
        """What the driver has to know before the first task."""
        ...

    def configure(self, value: Any) -> None:
        """Take up what the driver decided once it knew."""
        ...

    def __call__(self, task: Any) -> Any:
        """Do a task."""
        ...


Start = Callable[[int], Hands]
"""Makes the hands of a worker of some number, in its own process; it must survive pickling."""


@dataclass(frozen=True)
class Ready:
    """A worker has started.

    Attributes:
        description: What its hands say of themselves.
        memory: Most bytes that it has held so far; 0 where that cannot be known.
    """

    description: Any
    memory: int = 0


@dataclass(frozen=True)
class Finished:
    """A worker has done its task, with this result."""

    result: Any


@dataclass(frozen=True)
class Died:
    """A worker is gone: killed, out of memory, crashed, or its machine is lost."""


Event = Ready | Finished | Died


class WorkersLostError(RuntimeError):
    """Workers die before they have done anything, or there is nothing left that they could run on."""


class Crew(Protocol):
    """Workers of some kind, by their numbers."""

    def start(self, number: int) -> None:
        """Start a worker, or start it anew."""
        ...

    def configure(self, value: Any) -> None:
        """Tell all workers, those that will be started as well, what was decided."""
        ...

    def submit(self, number: int, task: Any) -> None:
        """Give a worker that is ready a task."""
        ...

    def wait(self) -> list[tuple[int, Event]]:
        """What happened, once something has.

        Raises:
            WorkersLostError: If nothing can happen any more.
            Exception: What a worker raised.
        """
        ...

    def close(self) -> None:
        """End all workers. What they are at work on is given up, and leaves nothing half."""
        ...


Task = TypeVar("Task", bound=Hashable)


@dataclass(frozen=True)
class GivenUp:
    """A task that ended its worker too often."""

    attempts: int


class Driver:
    """Has tasks done by a crew.

    Args:
        crew: The workers.

    Raises:
        WorkersLostError: If worker 0 dies again and again while it is started.
        Exception: What it raised.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._idle: list[int] = [0]
        self._busy: dict[int, Any] = {}
        self._deaths: Counter[int] = Counter()
        self.first = self._start_first()

    def _start_first(self) -> Ready:
        for _ in range(MOST_ATTEMPTS):
            self._crew.start(0)
            for _, event in self._crew.wait():
                if isinstance(event, Ready):
                    return event
        raise WorkersLostError(_lost(0))

    def grow(self, count: int) -> None:
        """Start more workers, until there are so many; they take tasks once they are ready."""
        for number in range(1, count):
            self._crew.start(number)

    def run(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, Any]]:
        """Have tasks done; each waits for the next worker that is free.

        Args:
            tasks: Taken one by one, as workers become free.

        Yields:
            A task and its result, in the order in which they are done; `GivenUp` for one that ended its worker three
            times.

        Raises:
            WorkersLostError: If workers die before they have done anything, or what they run on is lost.
            Exception: What a worker raised.
        """
        queue = _Queue(tasks)
        while True:
            while self._idle and (task := queue.next()) is not None:
                number = self._idle.pop(0)
                self._busy[number] = task
                self._crew.submit(number, task)
            if not self._busy and queue.empty:
                return
            for number, event in self._crew.wait():
                if isinstance(event, Died):
                    lost = self._replace(number)
                    if lost is not None and queue.died(lost):
                        yield lost, GivenUp(MOST_ATTEMPTS)
                    continue
                self._idle.append(number)
                if isinstance(event, Ready):
                    self._deaths[number] = 0
                else:
                    yield self._busy.pop(number), event.result

    def _replace(self, number: int) -> Any:
        """Start a worker that died anew; returns the task that it was at work on, if there is one."""
        lost = self._busy.pop(number, None)
        self._deaths[number] += lost is None
        if self._deaths[number] >= MOST_ATTEMPTS:
            raise WorkersLostError(_lost(number))
        if number in self._idle:
            self._idle.remove(number)
        self._crew.start(number)
        return lost


def _lost(number: int) -> str:
    return f"worker {number} died {MOST_ATTEMPTS} times before it did anything; is there enough memory for its model?"


class _Queue:
    """Tasks, those that ended a worker first."""

    def __init__(self, tasks: Iterator[Any]) -> None:
        self._tasks = tasks
        self._again: deque[Any] = deque()
        self._deaths: Counter[Any] = Counter()
        self.empty = False

    def next(self) -> Any:
        """The next task; `None` if there is none."""
        task = self._again.popleft() if self._again else next(self._tasks, None)
        self.empty = task is None
        return task

    def died(self, task: Any) -> bool:
        """A worker died of a task; returns whether that is too often."""
        self._deaths[task] += 1
        if self._deaths[task] >= MOST_ATTEMPTS:
            return True
        self._again.append(task)
        self.empty = False
        return False
