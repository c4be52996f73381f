"""Where the maps of a series go: a file on its grid, NIfTI files, and the search for connected regions."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from anomalib_zsad.volumes.body import Body
from anomalib_zsad.volumes.map_file import MapFile
from anomalib_zsad.volumes.options import MapType
from anomalib_zsad.volumes.regions import Regions, RegionSearch, find_regions
from anomalib_zsad.volumes.volume import Volume
from anomalib_zsad.volumes.writing.nifti_maps import MapStream, stream_map, write_maps
from anomalib_zsad.volumes.writing.stored_values import StoredValues, map_values, mask_values

_LAST_AXIS = 2


class MapOutputs:
    """Takes planes as they are answered; use as a context.

    Planes along the last axis come in the order in which NIfTI stores them: files and regions grow while the model is
    at work on the next ones. Otherwise both are made at the end, from the file on the grid.

    Args:
        folder: Where.
        volume: Whose grid it is. Its voxels are not touched.
        axis: Voxel axis that the planes are across.
        threshold: From it on a voxel belongs to a lesion.
        nifti: Type of the maps in NIfTI files; `None` to write no such files.
        deviations: Keep maps of standard deviations too.
        body: Tells where the patient's body is, so that regions outside are known; `None` where unknown. Asked when
            regions are first looked for, so that the body can be searched for beside the model's first answers.

    Attributes:
        maps: The map on the volume's grid, in a file that goes when the context ends.
    """

    def __init__(
        self,
        folder: Path,
        volume: Volume,
        axis: int,
        threshold: float,
        *,
        nifti: MapType | None,
        deviations: bool,
        body: Callable[[], Body | None] = lambda: None,
    ) -> None:
        self._folder, self._volume, self._axis, self._threshold = folder, volume, axis, threshold
        self._body = body
        with ExitStack() as opened:
            self.maps = MapFile(folder / ".map", volume.shape)
            opened.callback(self.maps.close)
            self._deviations = MapFile(folder / ".std", volume.shape) if deviations else None
            if self._deviations is not None:
                opened.callback(self._deviations.close)
            self._search: RegionSearch | None = None
            self._kinds = [] if nifti is None else self._nifti_kinds(map_values(nifti))
            self._streams = self._open_streams(opened)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def add(self, index: int, plane: NDArray[np.float32], deviation: NDArray[np.float32] | None) -> None:
        """Take the map of slice `index` and its standard deviations, planes of the volume."""
        self.maps.write(self._axis, index, plane)
        if self._axis == _LAST_AXIS:
            if self._search is None:
                self._search = RegionSearch(self._volume, self._threshold, body=self._body())
            self._search.add(index, plane)
        if self._deviations is not None and deviation is not None:
            self._deviations.write(self._axis, index, deviation)
        for (_, source, _), stream in zip(self._kinds, self._streams, strict=False):
            values = plane if source is self.maps else deviation
            if values is not None:
                stream.add(index, values)

    def finish(self) -> tuple[list[str], Regions]:
        """Names of the NIfTI files, which are whole now, and the regions."""
        with ThreadPoolExecutor(2, thread_name_prefix="maps") as pool:
            if self._streams:
                written = [pool.submit(_finish_stream, stream) for stream in self._streams]
            else:
                written = [
                    pool.submit(write_maps, self._folder, name, self._volume, maps, stored)
                    for name, maps, stored in self._kinds
                ]
            regions = self._find_regions()
            return [path.name for paths in written for path in paths.result()], regions

    def _find_regions(self) -> Regions:
        if self._search is not None:
            return self._search.result()
        return find_regions(self.maps, self._threshold, self._volume, body=self._body())

    def _nifti_kinds(self, stored: StoredValues) -> list[tuple[str, MapFile, StoredValues]]:
        """Name, values, and what of them is written."""
        kinds = [("anomaly_map", self.maps, stored), ("lesions", self.maps, mask_values(self._threshold))]
        if self._deviations is not None:
            kinds.append(("anomaly_map_std", self._deviations, stored))
        return kinds

    def _open_streams(self, opened: ExitStack) -> list[MapStream]:
        """One for each kind where planes come in order and one file holds them all, none elsewhere."""
        if self._axis != _LAST_AXIS:
            return []
        streams = []
        for name, _, stored in self._kinds:
            stream = stream_map(self._folder, name, self._volume, stored)
            if stream is None:
                return []
            opened.callback(stream.abandon)
            streams.append(stream)
        return streams


def _finish_stream(stream: MapStream) -> list[Path]:
    stream.close()
    return [stream.path]
