"""Names next to points, where they cover as little as possible: other names least of all, then points, then lines.

Of the libraries for it, adjustText 1.4 leaves names on marks and takes up to half a minute a picture, and textalloc 1.2
puts names so far away that the lines to their marks cross other names and the bar.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from numpy.typing import NDArray

RADII = (6.0, 11.0, 18.0, 27.0, 38.0)  # typographic points between a mark and its name, nearest first
DIRECTIONS = tuple(math.radians(degrees) for degrees in (0, 180, 90, 270, 35, 145, 325, 215, 65, 115, 245, 295))
FAR = RADII[2]  # from here on a name is joined to its mark

# What it costs a name to cover something, and to stand a point further away from its mark.
NAME, OUTSIDE, MARK, DOT, LINE, DISTANCE = 200.0, 1000.0, 20.0, 2.0, 0.8, 0.12
CROWD = 15.0  # where dots are everywhere, covering more of them hardly matters, and nearness decides
SWEEPS = 6

HALO = withStroke(linewidth=2.2, foreground="white")


@dataclass
class _Name:
    """A name that looks for its place: where it could stand, and what that costs whatever the others do."""

    text: Annotation
    mark: NDArray[np.float64]  # (2,) pixels
    offsets: NDArray[np.float64]  # (places, 2) pixels from the mark to the lower left corner
    boxes: NDArray[np.float64]  # (places, 4) left, bottom, right, top
    cost: NDArray[np.float64]  # (places,)
    color: str
    chosen: int = 0


class Labels:
    """Places names on finished axes: limits and scales must not change afterwards.

    Each name has some sixty places around its mark and takes the cheapest that the others leave; a few sweeps over all
    names let the early ones reconsider. A name that ends up far from its mark is joined to it by a thin line.
    """

    def __init__(self, axes: Axes) -> None:
        figure = axes.figure
        assert isinstance(figure, Figure)
        assert isinstance(figure.canvas, FigureCanvasAgg)
        self._axes = axes
        self._renderer: Any = figure.canvas.get_renderer()  # type: ignore[no-untyped-call]
        self._unit = self._renderer.points_to_pixels(1.0)
        self._obstacles: list[tuple[NDArray[np.float64], float]] = []  # boxes (n, 4) in pixels, cost of each
        self._names: list[_Name] = []

    def avoid(self, points: Sequence[tuple[float, float]], cost: float = DOT, radius: float = 3.0) -> None:
        """Points in data coordinates that names should not cover; `radius` in typographic points."""
        if points:
            pixels = self._axes.transData.transform(points)
            margin = radius * self._unit
            self._obstacles.append((np.hstack([pixels - margin, pixels + margin]), cost))

    def avoid_line(self, points: Sequence[tuple[float, float]]) -> None:
        """A broken line through these points, in data coordinates."""
        pixels = self._axes.transData.transform(points)
        for start, end in itertools.pairwise(pixels):
            steps = max(2, int(np.hypot(*(end - start)) / (4 * self._unit)))
            beads = start + (end - start) * np.linspace(0, 1, steps)[:, None]
            self._obstacles.append((np.hstack([beads - self._unit, beads + self._unit]), LINE))

    def fixed(self, text: str, at: tuple[float, float], offset: tuple[float, float], **style: Any) -> None:
        """A name at a place of its own, `offset` points from `at`; others keep away from it."""
        drawn = self._axes.annotate(
            text, at, offset, textcoords="offset points", zorder=5, annotation_clip=False, path_effects=[HALO], **style
        )
        box = drawn.get_window_extent(self._renderer)
        self._obstacles.append((np.array([[box.x0, box.y0, box.x1, box.y1]]), NAME))

    def add(self, text: str, at: tuple[float, float], *, color: str, **style: Any) -> None:
        """A name for the mark at `at` (data coordinates), which `place` finds room for."""
        drawn = self._axes.annotate(
            text,
            at,
            (0, 0),
            textcoords="offset points",
            ha="left",
            va="bottom",
            zorder=5,
            path_effects=[HALO],
            color=color,
            **style,
        )
        extent = drawn.get_window_extent(self._renderer)
        size = np.array([extent.width, extent.height])
        mark = np.asarray(self._axes.transData.transform(at))
        angles = np.array([(math.cos(angle), math.sin(angle)) for _ in RADII for angle in DIRECTIONS])
        gaps = np.repeat(RADII, len(DIRECTIONS))[:, None]
        offsets = gaps * self._unit * angles + size * (angles - 1) / 2
        boxes = np.hstack([mark + offsets, mark + offsets + size])
        self._names.append(_Name(drawn, mark, offsets, boxes, DISTANCE * gaps[:, 0] + self._fixed_cost(boxes), color))

    def place(self) -> None:
        """Find a place for every name that was added."""
        for _ in range(SWEEPS):
            before = [name.chosen for name in self._names]
            for name in self._names:
                others = [other.boxes[other.chosen] for other in self._names if other is not name]
                cost = name.cost
                if others:
                    cost = cost + NAME * _covered(name.boxes, self._widened(np.array(others))).sum(axis=1)
                name.chosen = int(np.argmin(cost))
            if before == [name.chosen for name in self._names]:
                break
        for name in self._names:
            name.text.set_position(tuple(name.offsets[name.chosen] / self._unit))
            if RADII[name.chosen // len(DIRECTIONS)] >= FAR:
                self._join(name)

    def _widened(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        margin = 3 * self._unit  # or two names on one line would read as one
        return np.asarray(boxes + np.array([-margin, 0, margin, 0]), dtype=np.float64)

    def _fixed_cost(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        inner = self._axes.bbox
        outside = (boxes[:, :2] < (inner.x0, inner.y0)).any(axis=1) | (boxes[:, 2:] > (inner.x1, inner.y1)).any(axis=1)
        cost = np.asarray(OUTSIDE * outside, dtype=np.float64)
        crowd = np.zeros(len(boxes))
        for obstacles, price in self._obstacles:
            covered = price * _covered(boxes, obstacles).sum(axis=1)
            if price == DOT:
                crowd += covered
            else:
                cost += covered
        return np.asarray(cost - CROWD * np.expm1(-crowd / CROWD), dtype=np.float64)

    def _join(self, name: _Name) -> None:
        """A line from the mark to the nearest point of the name's box."""
        box = name.boxes[name.chosen]
        end = np.clip(name.mark, box[:2], box[2:])
        (x0, x1), (y0, y1) = zip(*self._axes.transData.inverted().transform([name.mark, end]), strict=True)
        self._axes.plot([x0, x1], [y0, y1], color=name.color, linewidth=0.6, zorder=3.3)


def _covered(boxes: NDArray[np.float64], obstacles: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which box (row) overlaps which obstacle (column)."""
    mine, theirs = boxes[:, None, :], obstacles[None, :, :]
    apart = (mine[..., :2] >= theirs[..., 2:]) | (theirs[..., :2] >= mine[..., 2:])
    return np.asarray(~apart.any(axis=-1))
