"""The surface of a field on a grid, as triangles: naive surface nets (Gibson 1998).

One vertex for each cell that the surface passes through, at the mean of the places where it cuts
the cell's edges; four cells around an edge that is cut make a face.
"""

import itertools

import numpy as np

CORNERS = np.array(list(itertools.product((0, 1), repeat=3)))
EDGES = [
    (a, b)
    for a, b in itertools.combinations(range(8), 2)
    if np.abs(CORNERS[a] - CORNERS[b]).sum() == 1
]


def surface_nets(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of the surface where the field is 0.

    Args:
        field: [X, Y, Z], negative inside; its outermost layer must not be, or the surface is open.

    Returns:
        vertices [V, 3] in grid units (node (i, j, k) lies at those numbers); triangles [F, 3]
        int64, counter-clockwise seen from outside.
    """
    inside = field < 0
    cells = [n - 1 for n in field.shape]
    windows = [tuple(slice(o, o + n) for o, n in zip(c, cells, strict=True)) for c in CORNERS]
    count = sum(inside[w].astype(np.int8) for w in windows)
    active = np.argwhere((count > 0) & (count < 8))
    numbers = np.full(cells, -1, np.int64)
    numbers[tuple(active.T)] = np.arange(len(active))
    values = np.stack([field[w][tuple(active.T)] for w in windows], 1).astype(np.float64)
    total, cuts = np.zeros((len(active), 3)), np.zeros((len(active), 1))
    for a, b in EDGES:
        cut = ((values[:, a] < 0) != (values[:, b] < 0))[:, None]
        span = values[:, a] - values[:, b]
        along = values[:, a] / np.where(cut[:, 0], span, 1.0)
        place = CORNERS[a] + along[:, None] * (CORNERS[b] - CORNERS[a])
        total += np.where(cut, place, 0.0)
        cuts += cut
    vertices = active + total / np.maximum(cuts, 1)
    quads = np.concatenate([_faces(inside, numbers, axis) for axis in range(3)])
    return vertices, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _faces(inside: np.ndarray, numbers: np.ndarray, axis: int) -> np.ndarray:
    """[Q, 4] vertices around every edge along `axis` whose ends lie on different sides."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    before = np.take(inside, range(inside.shape[axis] - 1), axis)
    after = np.take(inside, range(1, inside.shape[axis]), axis)
    edges = np.argwhere(before != after)
    # Edges on the grid's border have no four cells around them.
    ends = np.array(numbers.shape)
    free = [(edges[:, k] > 0) & (edges[:, k] < ends[k]) for k in (first, second)]
    edges = edges[free[0] & free[1]]
    corners = []
    for du, dv in ((1, 1), (0, 1), (0, 0), (1, 0)):
        cell = edges.copy()
        cell[:, first] -= du
        cell[:, second] -= dv
        corners.append(numbers[tuple(cell.T)])
    quads = np.stack(corners, 1)
    outward = before[tuple(edges.T)]  # the surface's outside lies towards larger numbers
    return np.where(outward[:, None], quads, quads[:, ::-1])


def largest_parts(
    vertices: np.ndarray, triangles: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """The mesh without hollows inside it, and without small parts.

    Small are connected parts with less than `share` of the largest one's vertices; a part whose
    triangles enclose a negative volume is the wall of a hollow, which nobody sees.
    """
    label = np.arange(len(vertices))
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    while True:
        lowest = label.copy()
        np.minimum.at(lowest, pairs[:, 0], label[pairs[:, 1]])
        np.minimum.at(lowest, pairs[:, 1], label[pairs[:, 0]])
        lowest = lowest[lowest]  # halves the way to the lowest number
        if (lowest == label).all():
            break
        label = lowest
    size = np.bincount(label, minlength=len(vertices))
    volume = np.bincount(label[triangles[:, 0]], volumes(vertices, triangles), len(vertices))
    size[volume <= 0] = 0
    kept = (size[label] > 0) & (size[label] >= share * size.max(initial=0))
    renumbered = np.cumsum(kept) - 1
    return vertices[kept], renumbered[triangles[kept[triangles].all(1)]]


def volumes(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """[F] signed volumes between each triangle and the origin; a closed mesh's sum is its own."""
    a, b, c = vertices[triangles].swapaxes(0, 1)
    return np.asarray(np.einsum("ij,ij->i", a, np.cross(b, c)) / 6.0)
