"""A model that scores pictures of any size window by window."""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .clip_preparation import resize_bicubic
from .windows import window_starts, window_weights

Transform = Callable[[Tensor], Tensor]


class TiledPrediction(NamedTuple):
    """Answer for a batch of n pictures of h x w pixels, as their tiles were seen.

    Attributes:
        pred_score: The highest score of a picture's tiles, (n,).
        anomaly_map: The tiles' maps, averaged where they overlap, (n, 1, h, w); `None` of a model without maps.
        score_std: Standard deviation of the score of the tile with the highest one, (n,); `None` if there is none.
        map_std: The tiles' deviations, averaged in the same way, (n, 1, h, w): at most so large is the deviation of the
            averaged map, because all tiles are seen by the same sampled prompts; `None` if there is none.
    """

    pred_score: Tensor
    anomaly_map: Tensor | None
    score_std: Tensor | None
    map_std: Tensor | None


class TiledModel(nn.Module):
    """Scores a picture by its tiles: its score is that of its most abnormal tile.

    Every tile is prepared and scored as an image of its own. Beside the picture and its one map (and that of the
    deviations), memory holds what a batch of tiles takes, however large the picture is.

    Args:
        model: The model of a tile, `model(images, class_names)`.
        transform: Brings tiles (n, 3, h, w) in [0, 1] to what it takes.
        window: Side of a tile in pixels of the pictures that are given.
        overlap: Share of a tile that neighbours have in common, at least.
        batch: Tiles scored at a time.
        identity: What decides the answers, as text.

    Attributes:
        one_by_one: Always true: pictures differ in size, and are given one at a time.
    """

    one_by_one = True

    def __init__(
        self,
        model: nn.Module,
        transform: Transform,
        window: int,
        overlap: float = 0.25,
        batch: int = 8,
        identity: str = "",
    ) -> None:
        super().__init__()
        self.tile_model, self.window, self.identity = model, window, identity
        self.overlap, self._transform, self._batch = overlap, transform, batch

    @torch.inference_mode()
    def forward(self, images: Tensor, class_names: Sequence[str] | str | None = None) -> TiledPrediction:
        """Scores, maps and their spread.

        Args:
            images: Pictures (n, 3, h, w) in [0, 1], on any device; as `WorkingSize` leaves them.
            class_names: One name, or one a picture; `None` for the model's own.
        """
        names = [class_names] * len(images) if isinstance(class_names, str) or class_names is None else class_names
        parts = [self._one(image, name) for image, name in zip(images, names, strict=True)]
        score, maps, score_std, map_std = zip(*parts, strict=True)
        return TiledPrediction(_joined(score), _joined(maps), _joined(score_std), _joined(map_std))  # type: ignore[arg-type]

    def evidence(self, *args: Any, **kwargs: Any) -> Any:
        """What scores are made of is known of tiles only.

        Raises:
            ValueError: Always.
        """
        del args, kwargs
        raise ValueError("scores of tiles have no parts that a published protocol could combine; leave tiles out")

    def _one(self, image: Tensor, name: str | None) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """The answer for one picture (3, h, w): score, map (1, h, w), and their deviations."""
        places = tile_places((image.shape[-2], image.shape[-1]), self.window, self.overlap)
        maps, deviations = _Blend(image), _Blend(image)
        scores: list[Tensor] = []
        spreads: list[Tensor] = []
        for start in range(0, len(places), self._batch):
            group = places[start : start + self._batch]
            tiles = torch.stack([image[:, place.rows, place.columns] for place in group])
            answer = self.tile_model(self._transform(tiles), None if name is None else [name] * len(group))
            scores.append(answer.pred_score.float())
            spreads += [] if answer.score_std is None else [answer.score_std.float()]
            maps.add(group, answer.anomaly_map)
            deviations.add(group, answer.map_std)
        score = torch.cat(scores)
        top = score.argmax()
        return score[top], maps.total, torch.cat(spreads)[top] if spreads else None, deviations.total


class Place(NamedTuple):
    """Where a tile lies in a picture, and what it counts there.

    Attributes:
        rows: Its rows.
        columns: Its columns.
        row_weights: What it counts at each of its rows, (rows,); a pixel's weight is this times that of its column.
        column_weights: The same for columns.
    """

    rows: slice
    columns: slice
    row_weights: Tensor
    column_weights: Tensor


def tile_places(shape: tuple[int, int], window: int, overlap: float) -> list[Place]:
    """The tiles of a picture, row by row; at every pixel their weights have the sum 1.

    Args:
        shape: Height and width of the picture.
        window: Side of a tile; along a side of the picture that is shorter, tiles have its length.
        overlap: Share of a tile that neighbours have in common, at least.
    """
    axes = []
    for length in shape:
        starts = window_starts(length, window, overlap)
        ends = [slice(start, min(start + window, length)) for start in starts]
        axes.append(list(zip(ends, window_weights(length, window, starts), strict=True)))
    return [Place(rows, columns, down, along) for (rows, down), (columns, along) in product(*axes)]


class _Blend:
    """The weighted sum of tiles' maps on the pixels of a picture."""

    def __init__(self, image: Tensor) -> None:
        self._image = image
        self.total: Tensor | None = None

    def add(self, places: Sequence[Place], maps: Tensor | None) -> None:
        """Add maps (n, 1, side, side) of tiles; `None` of a model that has none."""
        if maps is None:
            return
        if self.total is None:
            self.total = torch.zeros(1, *self._image.shape[-2:], device=self._image.device)
        for place, values in zip(places, maps.float().to(self.total.device), strict=True):
            own = self.total[:, place.rows, place.columns]
            if values.shape != own.shape:
                values = nn.functional.interpolate(values[None], own.shape[-2:], mode="bilinear")[0]  # noqa: PLW2901
            down, along = place.row_weights.to(own), place.column_weights.to(own)
            own += values * down[:, None] * along


class WorkingSize:
    """Brings pictures to the resolution at which a model sees their tiles; smaller ones stay as they are.

    Args:
        tile: Side of a tile in pixels of the picture as it is.
        side: Side of the model's images.

    Attributes:
        window: Side of a tile in pixels of what is made.
    """

    def __init__(self, tile: int, side: int) -> None:
        self._scale = min(1.0, side / tile)
        self.window = min(tile, side)

    def __call__(self, image: Tensor) -> Tensor:
        """A picture (..., h, w) in [0, 1] at that resolution: reduced as the models' own images are."""
        if self._scale == 1:
            return image
        height, width = (max(1, round(length * self._scale)) for length in image.shape[-2:])
        return resize_bicubic(image, (height, width)).clamp(0, 1)


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.stack(known) if known else None
