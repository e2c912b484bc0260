"""Crack mask -> centre line one pixel thin: Guo-Hall thinning, branches, spurs.

Inside this file an image has an empty border and is often flat: a pixel is its index, row * width + column, and its
eight neighbours are at fixed distances from it. A neighbourhood is then a code of eight bits, bit b for DIRECTIONS[b],
and what happens to a pixel is looked up in a table of 256 codes.
"""

from itertools import chain as joined

import cv2
import numpy as np

MEASURABLE_PX = 3  # below, one pixel of the mask's edge is more than a third of the width
DIRECTIONS = np.array([(0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1)])  # x, y of N, NE ... NW


def check_mask(mask):
    """Give the mask back; TypeError if it is not (H, W) uint8, ValueError if it holds more than 0 and 1."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.uint8 or mask.ndim != 2:
        found = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"a mask is (H, W) uint8 0/1, got {found}; use (probability > threshold).astype(np.uint8)")
    if mask.max() > 1:
        raise ValueError(f"a mask holds 0 and 1, got {mask.max()}; give one class: (mask == 1).astype(np.uint8)")
    return mask


def ones(mask):
    """(H, W) uint8 0/1 -> (N,) flat indices of its ones. NumPy finds them ten times as fast in bool."""
    return np.flatnonzero(mask.view(bool))


def skeleton(mask):
    """(H, W) uint8 0/1 -> (H, W) uint8 0/1: centre line one pixel thin, spurs under the local width cut off.

    Guo and Hall, "Parallel thinning with two-subiteration algorithms", CACM 32(3), 1989, algorithm A1:
    unlike Zhang and Suen's it keeps 45 degree strips. TypeError, ValueError: see check_mask.
    """
    padded = np.pad(check_mask(mask), 1)
    line, _, _ = prune(thin(padded), depth(padded))
    return line[1:-1, 1:-1]


def depth(padded):
    """(H, W) float32: distance to the nearest road pixel. On a centre line that is half the width and half a pixel.

    Computed for the part that holds all of the crack, and the road next to it: the rest is 0.
    """
    x, y, width, height = cv2.boundingRect(padded)
    rows = slice(max(0, y - 1), y + height + 1)
    columns = slice(max(0, x - 1), x + width + 1)
    deep = np.zeros(padded.shape, np.float32)
    deep[rows, columns] = cv2.distanceTransform(padded[rows, columns], cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return deep


def widths(mask, line):
    """(H, W) masks of a crack and of its centre line -> (N,) width in pixels at each point of the line, row by row.

    It is twice the distance to the road, in an image of twice the size, so that a crack of 4 pixels has a middle, too.
    Strips 2 to 10 pixels wide come out within 0.7 pixels, and exactly along rows and columns. `measure.measure` is
    slower and more exact. TypeError, ValueError: see check_mask.
    """
    twice = cv2.resize(check_mask(mask), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    deep = depth(twice)
    rows, columns = np.nonzero(line)
    quarters = [deep[2 * rows + down, 2 * columns + right] for down in (0, 1) for right in (0, 1)]
    return np.max(quarters, axis=0)


def _guo_hall():
    """(2, 256) bool: does a pixel with this code go in the first, in the second half of a turn?

    In the words of the paper: it goes if C = 1 (it does not connect what would fall apart), N is 2 or 3 (it is no end
    and not inside), and the condition of this half holds (one half takes from one side, the other from the opposite).
    """
    n, ne, e, se, s, sw, w, nw = (np.arange(256) >> bit & 1 for bit in range(8))
    c = ((1 - n) & (ne | e)) + ((1 - e) & (se | s)) + ((1 - s) & (sw | w)) + ((1 - w) & (nw | n))
    n1 = (nw | n) + (ne | e) + (se | s) + (sw | w)
    n2 = (n | ne) + (e | se) + (s | sw) + (w | nw)
    n_of_pairs = np.minimum(n1, n2)
    may_go = (c == 1) & (n_of_pairs >= 2) & (n_of_pairs <= 3)
    first = may_go & (((s | sw | (1 - nw)) & w) == 0)
    second = may_go & (((n | ne | (1 - se)) & e) == 0)
    return np.stack([first, second])


def _steps():
    """(256, 8) int: where a line goes on from a pixel with this code: to its 4-neighbours, and to its diagonal ones
    only where no 4-neighbour leads there too."""
    on = np.arange(256)[:, None] >> np.arange(8) & 1
    neighbour_off = (1 - np.roll(on, 1, axis=1)) & (1 - np.roll(on, -1, axis=1))
    diagonal = np.arange(8) % 2 == 1
    return np.where(diagonal, on & neighbour_off, on)


GUO_HALL, STEPS = _guo_hall(), _steps()


def _offsets(image):
    """(8,) distances in the flat image from a pixel to its neighbours."""
    return DIRECTIONS @ (1, image.shape[1])


def _codes(flat, pixels, offsets):
    """Flat image, pixel indices (N,) -> (N,) uint8 codes."""
    codes = np.zeros(len(pixels), np.uint8)
    for bit, offset in enumerate(offsets):
        codes |= flat[pixels + offset] << np.uint8(bit)
    return codes


def thin(padded):
    """(H, W) uint8 with an empty border -> its Guo-Hall skeleton.

    A pixel can become removable only after a neighbour was removed. So each half of a turn looks only at the
    neighbours of those that went in the two halves before; the first turn looks at all.
    """
    line, offsets = padded.ravel().copy(), _offsets(padded)
    pixels = ones(line)
    codes = np.zeros(line.size, np.uint8)
    codes[pixels] = _codes(line, pixels, offsets)
    before, latest = pixels[:0], pixels
    half = 0
    while before.size or latest.size:
        look = np.concatenate([before, latest])
        goes = (line[look] == 1) & GUO_HALL[half][codes[look]]
        gone = np.unique(look[goes])
        line[gone] = 0
        for bit, offset in enumerate(offsets):
            opposite = (bit + 4) % 8  # for its N neighbour the pixel was the S one
            codes[gone + offset] &= np.uint8(255 - (1 << opposite))
        touched = (gone[:, None] + offsets).ravel()
        before, latest = latest, touched[line[touched] == 1]
        half = 1 - half
    return line.reshape(padded.shape)


def _trace(line):
    """Skeleton -> (chains: lists of pixels from one end or junction to the next; degree (H W,) uint8).

    degree: to how many pixels the line goes on: 1 at an end, 2 along it, more at a junction.
    """
    pixels, offsets = ones(line), _offsets(line)
    steps = STEPS[_codes(line.ravel(), pixels, offsets)]
    neighbours = pixels[:, None] + offsets
    degree = steps.sum(axis=1)
    along = degree == 2
    sums = (neighbours * steps).sum(axis=1)
    both = dict(zip(pixels[along].tolist(), sums[along].tolist(), strict=True))

    chains = [[pixel] for pixel in pixels[degree == 0].tolist()]
    walked = set()
    for start, step in _first_steps(pixels, neighbours, steps, ~along):
        if (start, step) not in walked:
            chain = _walk(start, step, both)
            chains.append(chain)
            walked.add((chain[-1], chain[-2]))  # the same chain from its other end

    # what is left are rings without a junction: a ring begins anywhere
    in_chains = np.fromiter(joined.from_iterable(chains), int)
    on_rings = along & ~np.isin(pixels, in_chains)
    walked = set()
    for start, step in _first_steps(pixels, neighbours, steps, on_rings):
        if start not in walked:
            chain = _walk(start, step, both)
            chains.append(chain)
            walked.update(chain)
    degrees = np.zeros(line.size, np.uint8)
    degrees[pixels] = degree
    return chains, degrees


def _first_steps(pixels, neighbours, steps, chosen):
    """List of (pixel, neighbour) for every neighbour to which the line goes on from the chosen pixels."""
    rows, bits = np.nonzero(steps * chosen[:, None])
    return list(zip(pixels[rows].tolist(), neighbours[rows, bits].tolist(), strict=True))


def _walk(start, step, both):
    """Chain from start over step up to the next end or junction, or around a ring.

    both: {pixel along a line: the sum of its two neighbours}; less the one it came from, that is the next.
    """
    chain = [start, step]
    before, at = start, step
    while at in both and at != start:
        before, at = at, both[at] - before
        chain.append(at)
    return chain


def prune(line, depth):
    """Skeleton -> (skeleton without spurs, chains, degree).

    A spur goes from a junction to a free end and is shorter than the local width (twice the junction's depth):
    it may be a bump of the edge. A junction loses its shortest first, so one arm of a forked end stays.
    """
    while True:
        chains, degree = _trace(line)
        spurs = _shortest_spurs(chains, degree, depth)
        if not spurs:
            return line, chains, degree
        line = line.copy()
        line.ravel()[list(joined.from_iterable(spurs))] = 0
        line = thin(line)  # the corner where a spur stood


def _shortest_spurs(chains, degree, depth):
    """-> list of the shortest spur of each junction, without the junction's pixel."""
    width, depth = depth.shape[1], depth.ravel()
    found = {}  # junction: (length, spur)
    for chain in chains:
        if degree[chain[0]] != 1:
            chain = chain[::-1]
        end, junction = chain[0], chain[-1]
        if degree[end] != 1 or degree[junction] <= 2:
            continue
        length = np.hypot(end % width - junction % width, end // width - junction // width)
        shorter = junction not in found or length < found[junction][0]
        if shorter and length < 2 * depth[junction]:
            found[junction] = length, chain[:-1]
    return [spur for _, spur in found.values()]


def junctions(chains, degree, depth):
    """Junctions closer than their half widths are one: two wide strips cross once, their skeletons twice.

    -> (number (H, W) int: the junction a pixel belongs to, or 0; (x, y, depth) of each; the other chains)
    """
    flat = depth.ravel()
    nodes, rest = [], []
    for chain in chains:
        at_junction = [pixel for pixel in (chain[0], chain[-1]) if degree[pixel] > 2]
        is_link = len(at_junction) == 2 and len(chain) <= flat[at_junction].sum()
        if is_link:
            nodes += chain
        else:
            nodes += at_junction
            rest.append(chain)
    spots = np.zeros(depth.shape, np.uint8)
    spots.ravel()[nodes] = 1
    count, number = cv2.connectedComponents(spots, connectivity=8)
    # the mean place of each; not connectedComponentsWithStats, which is eight times as slow
    pixels = ones(spots)
    y, x = np.divmod(pixels, depth.shape[1])
    junction = number.ravel()[pixels]
    sums = np.stack([np.bincount(junction, place, count) for place in (x, y)], axis=1)
    middle = sums / np.maximum(np.bincount(junction, minlength=count), 1)[:, None]
    x, y = np.rint(middle).astype(int).T
    return number, np.c_[middle, depth[y, x]], rest
