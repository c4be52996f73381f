"""How many workers pay on this machine: by its cores and its free memory."""

import os
from dataclasses import dataclass
from pathlib import Path

_GIB = 1 << 30
_SPARE = _GIB
"""Left to a worker for the volume that it reads, beside what it holds once its model is loaded."""

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """What there is.

    Attributes:
        cores: CPU cores that this process may use.
        memory: Free bytes; 0 if unknown.
    """

    cores: int
    memory: int

    @classmethod
    def here(cls) -> "Machine":
        """This machine, within the limits of a container."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        quota = _numbers(_CGROUP / "cpu.max")
        if len(quota) == 2:
            cores = max(1, min(cores, quota[0] // quota[1]))
        free = _free_memory()
        most, held = _numbers(_CGROUP / "memory.max"), _numbers(_CGROUP / "memory.current")
        return cls(cores, max(0, min(free, most[0] - held[0])) if most and held else free)


@dataclass(frozen=True)
class Share:
    """How work is divided.

    Attributes:
        workers: How many.
        threads: CPU threads of each.
        reason: Why, in a line.
    """

    workers: int
    threads: int
    reason: str


def share(machine: Machine, held: int, asked: int | None = None) -> Share:
    """How many workers pay: a core each, as long as there is memory for them.

    One thread a worker does most in the same time: threads of one worker wait for each other, and workers do not.

    Args:
        machine: What there is.
        held: Bytes that a worker holds once its model is loaded; 0 if unknown.
        asked: How many were asked for; `None` for as many as pay.
    """
    needed = held + _SPARE
    fitting = max(1, machine.memory // needed) if machine.memory and held else machine.cores
    workers = asked or max(1, min(machine.cores, fitting))
    threads = max(1, machine.cores // workers)
    known = f"{machine.memory / _GIB:.1f} GiB free for {needed / _GIB:.1f} GiB each" if held else "memory unknown"
    why = "as asked" if asked else ("memory allows no more" if fitting < machine.cores else "one a core")
    reason = (
        f"{workers} worker{'s' * (workers != 1)} of {threads} thread{'s' * (threads != 1)} ({why}): "
        f"{machine.cores} core{'s' * (machine.cores != 1)}, {known}"
    )
    return Share(workers, threads, reason)


def _numbers(path: Path) -> list[int]:
    """Numbers of a file of the control group; none where there is no limit."""
    try:
        return [int(word) for word in path.read_text().split()]
    except (OSError, ValueError):
        return []


def _free_memory() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), 0)
