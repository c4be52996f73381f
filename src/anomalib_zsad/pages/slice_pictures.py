"""Pictures of a volume's slices, made in the background while the model scores, in bounded memory."""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import BoundedSemaphore
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from anomalib_zsad.pages.document import data_address, safe_json
from anomalib_zsad.pages.encoding import LADDER, choose_quality, jpeg, mask_address, store_map
from anomalib_zsad.pages.grey_codes import GreyCodes
from anomalib_zsad.volumes.slice_stack import SliceStack

# A page of 200 slices stays under 25 MB with what slices may borrow; more slices get less each, for at most 48 MB.
_BYTES_PER_SLICE = 106_000
_LARGEST = 43_000_000
_MAPS_SHARE = 0.2  # what smooth maps are expected to take of it, and what a rough one may
_BORROWED = 0.1  # of the whole: slices may differ, as long as the sum fits
_SAMPLES = 8
_WAITING = 12  # slices that may wait for the thread


@dataclass
class Account:
    """What pictures took so far.

    Attributes:
        allowance: Bytes for each slice.
        slices: How many there are.
        used: Bytes so far.
        done: Slices so far.
        reduced: Slices whose picture had to be stored more coarsely than the others.
        rough_maps: Maps that are not smooth enough to be stored with fewer pixels.
        small_maps: Maps that were.
    """

    allowance: float
    slices: int
    used: int = 0
    done: int = 0
    reduced: int = 0
    rough_maps: int = 0
    small_maps: int = 0

    @property
    def left(self) -> float:
        """Bytes that the next slice may take: what slices before it left, and some borrowed from those after it."""
        return self.allowance * (self.done + 1 + _BORROWED * self.slices) - self.used


@dataclass
class Scale:
    """Range of the maps of a series."""

    lowest: float = float("inf")
    highest: float = 0.0
    middles: list[float] = field(default_factory=list)

    @property
    def middle(self) -> float:
        """The median of the slices' medians: what is usual in this series."""
        return float(np.median(self.middles)) if self.middles else 0.0


class SlicePictures:
    """Encodes slices in a thread of its own and keeps them in a file; use as a context.

    Args:
        stack: The slices.
        spill: A new file for encoded slices; removed at the end.
        threshold: Of map pixels.

    Attributes:
        codes: What the pictures' grey levels mean.
        account: What was stored, and how.
        maps, deviations: Ranges.
    """

    def __init__(self, stack: SliceStack, spill: Path, threshold: float) -> None:
        self.stack = stack
        self.threshold = threshold
        self.codes = GreyCodes.of_volume(stack.volume, stack.window)
        self.maps, self.deviations = Scale(), Scale()
        self.account = Account(min(_BYTES_PER_SLICE, _LARGEST / max(1, len(stack))), len(stack))
        self.rung = self._choose_rung()
        self._spill = spill
        self._stream = spill.open("xb")
        self._room = BoundedSemaphore(_WAITING)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pages")
        self._pending: list[Future[None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._stream.close()
        self._spill.unlink(missing_ok=True)

    def offer(
        self, index: int, heat: NDArray[np.float32] | None = None, deviation: NDArray[np.float32] | None = None
    ) -> None:
        """Store a slice; waits only where the thread is far behind.

        Args:
            index: Which slice. Its voxels must stay until `finish`.
            heat: Its map in [0, 1], (H, W); `None` for a slice that was not scored. It must not change afterwards.
            deviation: The map of standard deviations likewise.

        Raises:
            OSError: If an earlier slice could not be stored.
        """
        self._check()
        self._room.acquire()
        self._pending.append(self._thread.submit(self._store, index, heat, deviation))

    def finish(self) -> None:
        """Wait until everything is stored.

        Raises:
            OSError: If something could not be.
        """
        for future in self._pending:
            future.result()
        self._pending.clear()
        self._stream.flush()

    def blocks(self) -> Iterator[bytes]:
        """What was stored, as script elements of data, in pieces of bounded size."""
        with self._spill.open("rb") as stream:
            while block := stream.read(1 << 20):
                yield block

    def _check(self) -> None:
        """Let errors of finished work surface, and forget it."""
        while self._pending and self._pending[0].done():
            self._pending.pop(0).result()

    def _choose_rung(self) -> int:
        places = np.unique(np.linspace(0, len(self.stack) - 1, min(_SAMPLES, len(self.stack))).astype(int))
        samples = [self.codes.encode(self.stack.values(self.stack.indices[place])) for place in places]
        return choose_quality(samples, self.account.allowance * (1 - _MAPS_SHARE) * 3 / 4)

    def _store(self, index: int, heat: NDArray[np.float32] | None, deviation: NDArray[np.float32] | None) -> None:
        try:
            record: dict[str, Any] = {}
            if heat is not None:
                record["map"] = self._store_map(heat, self.maps)
                mask = heat >= self.threshold
                if mask.any():
                    record["mask"] = mask_address(mask)
            if deviation is not None:
                record["deviation"] = self._store_map(deviation, self.deviations)
            record["picture"] = self._picture(index, len(json.dumps(record)))
            text = f'<script type="application/json" class="slice" data-slice="{index}">{safe_json(record)}</script>\n'
            content = text.encode("ascii")
            self._stream.write(content)
            self.account.used += len(content)
            self.account.done += 1
        finally:
            self._room.release()

    def _store_map(self, values: NDArray[np.float32], scale: Scale) -> dict[str, Any]:
        stored = store_map(values, self.account.allowance * _MAPS_SHARE)
        scale.lowest = min(scale.lowest, stored.low)
        scale.highest = max(scale.highest, stored.high)
        scale.middles.append(stored.middle)
        if stored.reduced:
            self.account.small_maps += 1
        elif stored.address.startswith("data:image/jpeg"):
            self.account.rough_maps += 1
        return stored.as_dict()

    def _picture(self, index: int, taken: int) -> str:
        """The slice at the chosen quality, or at a lower one where it would take more than what is left."""
        codes = self.codes.encode(self.stack.values(index))
        for rung in range(self.rung, len(LADDER)):
            content = jpeg(codes, LADDER[rung])
            if len(content) * 4 / 3 + taken <= self.account.left:
                break
        self.account.reduced += rung > self.rung
        return data_address(content, "jpeg")
