"""Crack mask -> centre line one pixel thin: Guo-Hall thinning, branches, spurs."""

from itertools import chain as joined

import cv2
import numpy as np

DIRECTIONS = np.array([(0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1)])  # N, NE ... NW


def check_mask(mask):
    """Give the mask back; TypeError if it is not (H, W) uint8, ValueError if it holds more than 0 and 1."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.uint8 or mask.ndim != 2:
        found = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"a mask is (H, W) uint8 0/1, got {found}; use (probability > threshold).astype(np.uint8)")
    if mask.max() > 1:
        raise ValueError(f"a mask holds 0 and 1, got {mask.max()}; use (mask > 0).astype(np.uint8)")
    return mask


def skeleton(mask):
    """(H, W) uint8 0/1 -> (H, W) uint8 0/1: centre line one pixel thin, spurs under the local width cut off.

    Guo and Hall, "Parallel thinning with two-subiteration algorithms", CACM 32(3), 1989, algorithm A1:
    unlike Zhang and Suen's it keeps 45 degree strips. TypeError, ValueError: see check_mask.
    """
    padded = np.pad(check_mask(mask), 1)
    return prune(thin(padded), depth(padded))[0][1:-1, 1:-1]


def depth(padded):
    """(H, W) float32: distance to the nearest road pixel, on a centre line half the width and half a pixel."""
    return cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def widths(mask, line):
    """(H, W) masks of a crack and of its centre line -> (N,) width in pixels at each point of the line, row by row.

    Twice the distance to the road, taken where each pixel is four: so a crack of 4 pixels has a middle, too. Strips
    of 2 to 10 pixels come out within 0.7, along rows and columns exactly; `measure.measure` takes longer, is closer.
    """
    twice = cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    rows, columns = np.nonzero(line)
    deep = depth(twice)
    return np.max([deep[2 * rows + i, 2 * columns + j] for i in (0, 1) for j in (0, 1)], axis=0)


def _guo_hall():
    """(2, 256) bool: does a pixel with this 8-neighbour code go in this half of a turn?"""
    n, ne, e, se, s, sw, w, nw = (np.arange(256) >> bit & 1 for bit in range(8))
    crossings = ((1 - n) & (ne | e)) + ((1 - e) & (se | s)) + ((1 - s) & (sw | w)) + ((1 - w) & (nw | n))
    pairs = np.minimum((nw | n) + (ne | e) + (se | s) + (sw | w), (n | ne) + (e | se) + (s | sw) + (w | nw))
    thick = (crossings == 1) & (pairs >= 2) & (pairs <= 3)
    return np.stack([thick & (((s | sw | (1 - nw)) & w) == 0), thick & (((n | ne | (1 - se)) & e) == 0)])


def _steps():
    """(256, 8) int: 4-neighbours, and diagonals only where no 4-neighbour leads there too."""
    on = np.arange(256)[:, None] >> np.arange(8) & 1
    corner = on & (1 - np.roll(on, 1, 1)) & (1 - np.roll(on, -1, 1))
    return np.where(np.arange(8) % 2, corner, on)


GUO_HALL, STEPS = _guo_hall(), _steps()


def _codes(flat, pixels, offsets):
    """Flat image, pixel indices (N,) -> (N,) uint8: bit b is the neighbour in DIRECTIONS[b]."""
    return sum(flat[pixels + offset] << np.uint8(bit) for bit, offset in enumerate(offsets))


def thin(padded):
    """(H, W) uint8 with an empty border -> its Guo-Hall skeleton, looking only where a neighbour has gone."""
    line, offsets = padded.ravel().copy(), DIRECTIONS @ (1, padded.shape[1])
    pixels = np.flatnonzero(line)
    codes = np.zeros(line.size, np.uint8)
    codes[pixels] = _codes(line, pixels, offsets)
    changed, half = [pixels[:0], pixels], 0  # each half looks again at what changed in the last two
    while changed[0].size or changed[1].size:
        look = np.concatenate(changed)
        gone = np.unique(look[(line[look] == 1) & GUO_HALL[half][codes[look]]])
        line[gone] = 0
        for bit, offset in enumerate(offsets):
            codes[gone + offset] &= np.uint8(255 - (1 << (bit + 4) % 8))
        touched = (gone[:, None] + offsets).ravel()
        changed, half = [changed[1], touched[line[touched] == 1]], 1 - half
    return line.reshape(padded.shape)


def _trace(line):
    """Skeleton -> (chains: pixel-index lists between ends and junctions, degree (H W,) uint8: neighbours of each)."""
    offsets, pixels = DIRECTIONS @ (1, line.shape[1]), np.flatnonzero(line)
    steps = STEPS[_codes(line.ravel(), pixels, offsets)] if pixels.size else np.zeros((0, 8), int)
    degree, near = steps.sum(1), pixels[:, None] + offsets
    through = degree == 2
    both = dict(zip(pixels[through].tolist(), (near * steps).sum(1)[through].tolist(), strict=True))
    chains, seen = [[p] for p in pixels[degree == 0].tolist()], set()
    for start, step in _first_steps(pixels, near, steps, ~through):
        if (start, step) not in seen:
            chains.append(_walk(start, step, both))
            seen.add((chains[-1][-1], chains[-1][-2]))
    loops = through & ~np.isin(pixels, np.fromiter(joined.from_iterable(chains), int))
    seen = set()
    for start, step in _first_steps(pixels, near, steps, loops):
        if start not in seen:
            chains.append(_walk(start, step, both))
            seen.update(chains[-1])
    flat = np.zeros(line.size, np.uint8)
    flat[pixels] = degree
    return chains, flat


def _first_steps(pixels, near, steps, chosen):
    """List of (pixel, neighbour) for every neighbour of the chosen pixels."""
    rows, bits = np.nonzero(steps * chosen[:, None])
    return list(zip(pixels[rows].tolist(), near[rows, bits].tolist(), strict=True))


def _walk(start, step, both):
    """Chain from start over step up to the next end or junction; both: the sum of a pixel's two neighbours."""
    chain, before, at = [start, step], start, step
    while at in both and at != start:
        before, at = at, both[at] - before
        chain.append(at)
    return chain


def prune(line, depth):
    """Skeleton -> (skeleton without spurs, chains, degree).

    A spur goes from a junction to a free end and is shorter than the local width (twice the junction's depth):
    it may be a bump of the edge. A junction loses its shortest first, so one arm of a forked end stays.
    """
    width, depth = line.shape[1], depth.ravel()
    while True:
        chains, degree = _trace(line)
        spurs = {}
        for chain in (c if degree[c[0]] == 1 else c[::-1] for c in chains):
            end, junction = chain[0], chain[-1]
            if degree[end] == 1 and degree[junction] > 2:
                reach = np.hypot(end % width - junction % width, end // width - junction // width)
                if reach < min(2 * depth[junction], spurs.get(junction, (np.inf,))[0]):
                    spurs[junction] = reach, chain[:-1]
        if not spurs:
            return line, chains, degree
        line = line.copy()
        line.ravel()[[pixel for _, spur in spurs.values() for pixel in spur]] = 0
        line = thin(line)  # the corner where a spur stood


def junctions(chains, degree, depth):
    """Junctions closer than their half widths are one: two wide strips cross once, their skeletons twice.

    -> (number (H, W) int: the junction a pixel belongs to, or 0; (x, y, depth) of each; the other chains)
    """
    spots, flat, nodes, rest = np.zeros(depth.shape, np.uint8), depth.ravel(), [], []
    for chain in chains:
        joins = [p for p in (chain[0], chain[-1]) if degree[p] > 2]
        link = len(joins) == 2 and len(chain) <= flat[joins].sum()
        nodes += chain if link else joins
        rest += [] if link else [chain]
    spots.ravel()[nodes] = 1
    _, number, _, middle = cv2.connectedComponentsWithStats(spots, connectivity=8)
    x, y = np.rint(middle).astype(int).T
    return number, np.c_[middle, depth[y, x]], rest
