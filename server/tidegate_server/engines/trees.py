"""Trees as flat arrays, walked by numpy: all rows and many trees one step at a time.

The two children of a node lie side by side, the right one first, so that a step is

    node = right[node] + (x[feature[node]] <= threshold[node])

A leaf is its own right child and its threshold is NaN, to which nothing compares: a walk that has arrived stays.
Comparisons are of the same values as scikit-learn's, and sums are formed in the order of its trees: the answers are
the same to the last bit.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from tidegate_server.engines.errors import EngineError
from tidegate_server.tensors import Array

_AT_ONCE = 1 << 14
"""Walks of a row through a tree that go on together. Fewer, and calling numpy costs more than it does; more, and what
they touch does not stay in the processor's cache. Measured with 100 trees of 60 and of 2,700 nodes."""
_ROWS_AT_ONCE = 1 << 12
_STEPS = 4
"""Between two looks at which walks have arrived."""
_FEW_LEFT = 0.75


class Trees(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="trees"):
    """A sum over trees, of `outputs` numbers a row. Arrays are little-endian, one item per node unless said otherwise.

    A node's number is larger than its parent's; nodes of a tree are neighbours, and its first is the root.
    """

    double: bool
    """Rows and thresholds are float64; otherwise float32."""
    sizes: tuple[int, ...]
    """Nodes of each tree."""
    right: bytes
    """int32: the right child, counted from the first node of all; the node itself where it is a leaf."""
    feature: bytes
    """int32: the column that is compared; plus the number of columns where a missing value goes left."""
    threshold: bytes
    """float32 or float64: up to it a row goes left."""
    values: bytes
    """float64 of shape [leaves, width]. With width 1 the trees take turns with the outputs."""
    width: int
    outputs: int
    baseline: tuple[float, ...]
    """What the sum begins with, one number per output."""
    divisor: float = 1.0
    """What the sum is divided by."""


class Forest:
    """Trees that are ready to be walked."""

    def __init__(self, trees: Trees, columns: int) -> None:
        """Raises EngineError for arrays that do not fit each other."""
        count, total = len(trees.sizes), sum(trees.sizes)
        if count == 0 or min(trees.sizes) < 1:
            raise EngineError("a tree without nodes")
        self.dtype: np.dtype[Any] = np.dtype("<f8" if trees.double else "<f4")
        right: Array = read_array(trees.right, "<i4", total).astype(np.intp)
        feature: Array = read_array(trees.feature, "<i4", total).astype(np.intp)
        ends: Array = np.cumsum(trees.sizes)
        roots = ends - trees.sizes
        own: Array = np.arange(total)
        leaf = right == own
        inside = (right > own) & (right + 1 < np.repeat(ends, trees.sizes))
        if not (leaf | inside).all():
            raise EngineError("a node has children that are not of its tree")
        if np.bincount(np.concatenate([right[inside], right[inside] + 1]), minlength=total).max() > 1:
            raise EngineError("a node is the child of two")  # ways down could double at every node
        if not ((feature >= 0) & (feature < 2 * columns)).all():
            raise EngineError("a node compares a column that there is not")
        if trees.width not in (1, trees.outputs) or trees.outputs < 1 or count % (trees.outputs // trees.width):
            raise EngineError("the trees do not share the outputs evenly")
        if len(trees.baseline) != trees.outputs or not trees.divisor > 0:
            raise EngineError("the baseline or the divisor is wrong")
        threshold = read_array(trees.threshold, self.dtype.str, total).copy()
        threshold[leaf] = np.nan
        feature[leaf] = 0
        of_leaves = read_array(trees.values, "<f8", int(leaf.sum()) * trees.width).reshape(-1, trees.width)
        values: Array = np.zeros((total, trees.width))
        values[leaf] = of_leaves
        self._right, self._feature, self._threshold, self._values = right, feature, threshold, values
        self._roots, self._depths = roots, _depths(right, roots)
        self._twice = bool((feature >= columns).any())
        self._baseline = np.array(trees.baseline)
        self._turns = trees.outputs // trees.width
        self._divisor = trees.divisor

    def raw(self, x: Array) -> Array:
        """The sums of shape [n, outputs] for rows of shape [n, columns] and of this forest's dtype."""
        if self._twice:
            low = x.copy()  # a missing value is smaller than everything here, and NaN, which is never smaller, there
            low[np.isnan(x)] = -np.inf
            x = np.concatenate([x, low], axis=1)
        x = np.ascontiguousarray(x)
        parts = [self._part(x[start : start + _ROWS_AT_ONCE]) for start in range(0, len(x), _ROWS_AT_ONCE)]
        return np.concatenate(parts) if len(parts) != 1 else parts[0]

    def _part(self, x: Array) -> Array:
        rows, columns = x.shape
        flat = x.reshape(-1)
        offsets: Array = np.arange(rows) * columns
        total = np.tile(self._baseline.reshape(self._turns, 1, -1), (1, rows, 1))
        step = max(self._turns, _AT_ONCE // rows // self._turns * self._turns)
        for first in range(0, len(self._roots), step):
            leaves = self._walk(flat, offsets, slice(first, first + step))
            terms = self._values.take(leaves, axis=0).reshape(-1, *total.shape)
            terms[0] += total
            total = in_order(terms)
        total = np.moveaxis(total, 0, 1).reshape(rows, -1)
        return total if self._divisor == 1 else total / self._divisor

    def _walk(self, flat: Array, offsets: Array, trees: slice) -> Array:
        """The leaf of every row in each of the trees, shape [trees * rows]. `flat` holds rows that begin at `offsets`.

        No index can be out of range here; `clip` only spares numpy a look.
        """
        roots, depth = self._roots[trees], int(self._depths[trees].max())
        node: Array = np.repeat(roots, len(offsets))
        row: Array = np.tile(offsets, len(roots))
        arrived = node
        walking: Array | None = None
        while depth > 0:
            index: Array = np.empty_like(node)
            here: Array = np.empty(len(node), bool)
            value: Array = np.empty(len(node), self.dtype)
            threshold: Array = np.empty(len(node), self.dtype)
            for _ in range(min(_STEPS, depth)):
                self._feature.take(node, out=index, mode="clip")
                index += row
                flat.take(index, out=value, mode="clip")
                self._threshold.take(node, out=threshold, mode="clip")
                np.less_equal(value, threshold, out=here)
                self._right.take(node, out=index, mode="clip")
                np.add(index, here, out=node)
            depth -= _STEPS
            left = np.flatnonzero(self._right.take(node, mode="clip") != node) if depth > 0 else index[:0]
            if depth > 0 and len(left) > _FEW_LEFT * len(node):
                continue
            if walking is not None:
                arrived[walking] = node
            walking = left if walking is None else walking[left]
            node, row = node[left], row[left]
            if not len(node):
                break
        return arrived


def in_order(terms: Array) -> Array:
    """The sum over the first axis, from the first term to the last.

    numpy does that by itself only where the terms are longer than one number.
    """
    total: Array = np.add.accumulate(terms, axis=0)[-1] if terms[0].size == 1 else np.add.reduce(terms, axis=0)
    return total


def read_array(content: bytes, dtype: str, count: int) -> Array:
    """Raises EngineError for another number of items."""
    if len(content) != count * np.dtype(dtype).itemsize:
        raise EngineError(f"an array has {len(content)} bytes, and {count} of {dtype} were to be read")
    return np.frombuffer(content, dtype)


def _depths(right: Array, roots: Array) -> Array:
    """How many steps the longest way down each tree has."""
    depths = np.zeros(len(roots), np.intp)
    node, tree = roots, np.arange(len(roots))
    while True:
        inner = right[node] != node
        node, tree = node[inner], tree[inner]
        if not len(node):
            return depths
        depths[tree] += 1
        node, tree = np.concatenate([right[node], right[node] + 1]), np.concatenate([tree, tree])


def lay_out(left: Sequence[int], right: Sequence[int]) -> tuple[list[int], list[int]]:
    """The order in which the nodes of one tree are laid, and where each one's right child then is.

    `left` and `right` are the children of each node, -1 at a leaf; the root is node 0.

    >>> lay_out([1, -1, 3, -1, -1], [2, -1, 4, -1, -1])
    ([0, 2, 1, 4, 3], [1, 3, 2, 3, 4])
    """
    order, places = [0], []
    for place, node in enumerate(order):
        places.append(place if left[node] < 0 else len(order))
        if left[node] >= 0:
            order += [right[node], left[node]]
    return order, places
