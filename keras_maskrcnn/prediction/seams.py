"""Objects that the seams of tiles cut: what is found in several tiles becomes one object.

Two tiles that overlap show the same pixels there, so what they show of an object agrees there. What
is found at a border of a tile behind which the image goes on is cut: there may be more of it in the
next tile.

1. Parts of one class from two tiles are of the same object if their masks agree where the tiles
   overlap.
2. A cut part is dropped if another tile shows it whole, or shows all of it and finds it as
   anything else.
3. Cut parts of the same object are joined: their masks' union, their highest score.
4. Of whole and joined objects that are the same the one of the highest score is kept.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_maskrcnn.ops.runs import Window, clip_runs, common_pixels, count_pixels, join_runs

AGREEMENT = 0.5  # least intersection over union of what is the same
COVERED = 0.5  # least share of a part that another covers which takes its place
EDGE = 0.015  # share of a tile's side from its border up to which a box touches it


class Part(NamedTuple):
    """What was found in one tile, in the pixels of the image.

    Attributes:
        tile: Which one.
        box: (4,) xyxy.
        score: 0..1.
        class_id: From 0.
        runs: The mask, see `keras_maskrcnn.ops.runs`.
    """

    tile: int
    box: np.ndarray
    score: float
    class_id: int
    runs: np.ndarray


def join_parts(
    parts: Sequence[Part], windows: Sequence[Window], size: tuple[int, int]
) -> list[Part]:
    """The objects that parts from overlapping tiles show, each once, best first.

    Args:
        parts: What was found in the tiles.
        windows: The tiles.
        size: Height and width of the image.

    Returns:
        A `Part` an object; that of a joined one is of any of its tiles.

    Example:
        >>> from keras_maskrcnn.ops.runs import mask_runs
        >>> left = Part(0, np.array([60, 0, 100, 9]), 0.9, 0, mask_runs(np.ones((9, 40)), (0, 60)))
        >>> right = Part(1, np.array([75, 0, 150, 9]), 0.8, 0, mask_runs(np.ones((9, 75)), (0, 75)))
        >>> tiles = [(0, 0, 100, 100), (75, 0, 175, 100)]
        >>> [part.box.tolist() for part in join_parts([left, right], tiles, (100, 175))]
        [[60, 0, 150, 9]]
    """
    if not parts:
        return []
    tiles = _Tiles(parts, windows, size)
    same = tiles.same_objects()
    cut = tiles.cut(same)
    shown_whole = {i for pair in same for i, j in (pair, pair[::-1]) if cut[i] and not cut[j]}
    pieces = set(np.flatnonzero(cut).tolist()) - shown_whole
    pieces -= tiles.explained(pieces, shown_whole)
    across = {pair: iou for pair, iou in same.items() if pieces.issuperset(pair)}
    groups = _connected(pieces, tiles.best_of_each(across))
    whole = np.flatnonzero(~cut).tolist()
    place = {i: number for number, i in enumerate(whole)}
    objects = [parts[i] for i in whole] + [_join([parts[i] for i in group]) for group in groups]
    duplicates = [(place[i], place[j]) for i, j in same if i in place and j in place]
    duplicates += _same_as_joined(objects, range(len(whole), len(objects)))
    return _best_first(objects, duplicates)


class _Tiles:
    """Parts with the tiles that they were found in; parts go by their numbers."""

    def __init__(self, parts, windows, size):
        self.parts = parts
        self.windows = np.array(windows)
        self.boxes = np.array([part.box for part in parts], np.float32)
        self.tile_of = np.array([part.tile for part in parts])
        sides = self.windows[:, 2:] - self.windows[:, :2]
        self.edge = EDGE * sides.max(axis=1, keepdims=True)
        # Boxes end a little before or behind their objects.
        self.around = self.boxes + self.edge[self.tile_of] * [-1, -1, 1, 1]
        ends = np.array([0, 0, size[1], size[0]])
        outwards = np.array([-np.inf, -np.inf, np.inf, np.inf])
        self.limits = np.where(self.windows == ends, outwards, self.windows)
        self.of_tile = {tile: np.flatnonzero(self.tile_of == tile) for tile in set(self.tile_of)}

    def shows(self, tile, boxes, more):
        """Whether a tile shows all of boxes (..., 4), and `more` edges around them."""
        limits, edge = self.limits[tile], more * self.edge[tile]
        clear = boxes[..., :2] >= limits[..., :2] + edge, boxes[..., 2:] <= limits[..., 2:] - edge
        return np.all(clear[0] & clear[1], axis=-1)

    def neighbours(self, tile):
        """The other tiles with parts that overlap one."""
        others = np.array([other for other in self.of_tile if other != tile], int)
        return others[_overlap(self.windows[tile], self.windows[others])].tolist()

    def same_objects(self):
        """Pairs of parts from two tiles that agree where both tiles look, with their IoU there."""
        same = {}
        for tile, of_tile in self.of_tile.items():
            for other in self.neighbours(tile):
                if other > tile:
                    for i in of_tile.tolist():
                        same |= self._agreeing(i, self.of_tile[other])
        return same

    def _agreeing(self, i, others):
        one = self.parts[i]
        agreeing = {}
        for j in others[_overlap(self.around[i], self.boxes[others])].tolist():
            other = self.parts[j]
            if one.class_id == other.class_id:
                # Each lies within its own tile.
                seen = clip_runs(one.runs, self.windows[other.tile])
                iou = _iou(seen, clip_runs(other.runs, self.windows[one.tile]))
                if iou >= AGREEMENT:
                    agreeing[i, j] = iou
        return agreeing

    def cut(self, same):
        """(n,) whether there may be more of a part in another tile."""
        cut = ~self.shows(self.tile_of, self.boxes, more=1)
        # However a box ends: if another tile shows the object to go on, it does.
        for pair in same:
            for i, j in (pair, pair[::-1]):
                cut[i] |= not self.shows(self.tile_of[i], self.boxes[j], more=-1)
        return cut

    def explained(self, pieces, dropped):
        """Cut parts that another tile shows with what is around them, and finds something there."""
        explained = set()
        areas = {i: count_pixels(self.parts[i].runs) for i in pieces}
        for i in sorted(pieces, key=lambda i: -areas[i]):
            for tile in self.neighbours(self.tile_of[i]):
                if not self.shows(tile, self.boxes[i], more=1):
                    continue
                others = self.of_tile[tile]
                others = others[_overlap(self.around[i], self.boxes[others])].tolist()
                if any(
                    common_pixels(self.parts[i].runs, self.parts[j].runs) >= COVERED * areas[i]
                    for j in others
                    if j not in explained and j not in dropped
                ):
                    explained.add(i)
                    break
        return explained

    def best_of_each(self, same):
        """The pairs of which each is the best that the other's tile has for it."""
        best = {}
        for pair, iou in same.items():
            for i, j in (pair, pair[::-1]):
                key = i, self.tile_of[j]
                best[key] = max(best.get(key, (0.0, -1)), (iou, j))
        return [
            (i, j)
            for i, j in same
            if best[i, self.tile_of[j]][1] == j and best[j, self.tile_of[i]][1] == i
        ]


def _overlap(box, boxes):
    """Whether boxes (n, 4) have more than a border in common with a box."""
    return np.all((boxes[:, :2] < box[2:]) & (boxes[:, 2:] > box[:2]), axis=1)


def _iou(one, other):
    common = common_pixels(one, other)
    return common / max(1, count_pixels(one) + count_pixels(other) - common)


def _connected(numbers, pairs):
    """Groups of numbers that pairs connect, of one number too."""
    leader = {i: i for i in numbers}

    def find(i):
        while leader[i] != i:
            leader[i] = i = leader[leader[i]]
        return i

    for i, j in pairs:
        leader[find(i)] = find(j)
    groups = {}
    for i in sorted(numbers):
        groups.setdefault(find(i), []).append(i)
    return list(groups.values())


def _join(parts):
    """One part of several."""
    best = max(parts, key=lambda part: part.score)
    boxes = np.array([part.box for part in parts])
    box = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
    return best._replace(box=box, runs=join_runs([part.runs for part in parts]))


def _same_as_joined(objects, joined):
    """Pairs of which one was joined, so that its parts' agreement says nothing."""
    boxes = np.array([part.box for part in objects])
    for i in joined:
        for j in np.flatnonzero(_overlap(boxes[i], boxes)).tolist():
            one, other = objects[i], objects[j]
            if (
                i != j
                and one.class_id == other.class_id
                and _iou(one.runs, other.runs) >= AGREEMENT
            ):
                yield i, j


def _best_first(objects, duplicates):
    """The objects by their score, without those that are the same as a better one."""
    same = {}
    for i, j in duplicates:
        same.setdefault(i, set()).add(j)
        same.setdefault(j, set()).add(i)
    kept = {}
    for i in sorted(range(len(objects)), key=lambda i: -objects[i].score):
        if not same.get(i, set()) & kept.keys():
            kept[i] = objects[i]
    return list(kept.values())
