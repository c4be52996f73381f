"""Workers that are Ray's actors, on this machine or on a cluster."""

import os
from typing import Any

from anomalib_zsad.units.crew import Died, Event, Finished, Hands, Ready, Start, WorkersLostError
from anomalib_zsad.units.local_crew import peak_memory

PIP = "pip install 'anomalib-zsad[ray]'"
# Seconds between looks at Ray's nodes while nothing happens.
_LOOKS_EVERY = 10


def import_ray() -> Any:
    """Ray itself.

    Raises:
        ValueError: If it is not installed; says how to install it.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    try:
        import ray
    except ImportError as error:
        raise ValueError(f"--executor ray needs Ray, which is not installed: {PIP}") from error
    return ray


class RayCrew:
    """Actors, one for each worker, which Ray places where there is room. Say what they do with `staff`.

    Args:
        address: Of a cluster (`auto`, `HOST:PORT`, `ray://...`); `None` starts Ray on this machine, for this run.

    Raises:
        ValueError: If Ray is not installed, or no cluster is at the address.
    """

    def __init__(self, address: str | None = None) -> None:
        self._ray = import_ray()
        options: dict[str, Any] = {"include_dashboard": False} if address is None else {}
        try:
            self._ray.init(address or "local", log_to_driver=False, logging_level="error", **options)
        except (ConnectionError, RuntimeError, OSError) as error:
            raise ValueError(f"Ray cannot be reached at {address or 'this machine'}: {error}") from error
        self._actor: Any = None
        self._given: Any = None
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}
        self._settled: list[Any] = []

    def staff(self, start: Start, *, cpus: float = 1, gpus: float = 0) -> None:
        """Say what workers do.

        Args:
            start: Makes the hands of a worker. Ray's nodes must have this package.
            cpus: Cores of each.
            gpus: GPUs of each.
        """
        self._given = start
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0}
        self._actor = self._ray.remote(Actor).options(**options)

    def resources(self, kind: str) -> int:
        """How many `CPU` or `GPU` there are."""
        return int(self._ray.cluster_resources().get(kind, 0))

    def start(self, number: int) -> None:
        """Start a worker, or start it anew."""
        actor = self._actor.remote(self._given, number)
        self._actors[number] = actor
        for value in self._settled:
            actor.configure.remote(value)
        self._pending[actor.ready.remote()] = number

    def configure(self, value: Any) -> None:
        """Tell all workers, those that will be started as well, what was decided."""
        self._settled = [value]
        for actor in self._actors.values():
            actor.configure.remote(value)

    def submit(self, number: int, task: Any) -> None:
        """Give a worker that is ready a task."""
        self._pending[self._actors[number].do.remote(task)] = number

    def wait(self) -> list[tuple[int, Event]]:
        """What happened, once something has.

        Raises:
            WorkersLostError: If no node of Ray is left: it would wait for one for ever.
            Exception: What a worker raised.
        """
        done: list[Any] = []
        while not done:
            done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=_LOOKS_EVERY)
            if not done and not any(node["Alive"] for node in self._ray.nodes()):
                raise WorkersLostError("no node of Ray is left to run workers on; its logs are in /tmp/ray there")
        return [(self._pending.pop(reference), self._event(reference)) for reference in done]

    def _event(self, reference: Any) -> Event:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError:  # the actor is gone, or its node
            return Died()

    def close(self) -> None:
        """End all workers, and Ray where this run started it."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors, self._pending = {}, {}
        self._ray.shutdown()


class Actor:
    """What Ray runs: the hands of a worker.

    Args:
        start: Makes them.
        number: Of the worker.
    """

    def __init__(self, start: Start, number: int) -> None:
        self._made: Hands | Exception
        try:
            self._made = start(number)
        except Exception as error:  # told by `ready`: of one that is raised here Ray says only that the actor is gone
            self._made = error

    @property
    def _hands(self) -> Hands:
        if isinstance(self._made, Exception):
            raise self._made
        return self._made

    def ready(self) -> Ready:
        """Say what the hands are.

        Raises:
            Exception: What went wrong when they were made.
        """
        return Ready(self._hands.describe(), peak_memory())

    def configure(self, value: Any) -> None:
        """Take up what the driver decided."""
        self._hands.configure(value)

    def do(self, task: Any) -> Finished:
        """Do a task."""
        return Finished(self._hands(task))
