"""Chains of skeleton pixels -> smooth centre lines, a point per pixel of length, with the width at each.

All chains are worked on at once: their points stand one after another, (P, 2) x and y, with the number of points of
each chain, (C,). A photo of specks has 10 000 chains, and Python takes longer for each than for all their arithmetic.
"""

import cv2
import numpy as np

SIGMA_STEP = 0.25  # chains of nearly the same smoothing go through one convolution
EDGE_SAMPLES, EDGE_CHUNK = 16, 1 << 14  # along a profile; profiles at a time, so that they stay in the cache


def _count_up(size):
    """Points of each chain (C,) -> (P,) chain of each point, (P,) its place in it."""
    chain = np.repeat(np.arange(len(size)), size)
    return chain, np.arange(len(chain)) - (np.cumsum(size) - size)[chain]


def _run(xy, size):
    """-> (P,) way along the chain up to each point, (C,) its whole length."""
    chain, place = _count_up(size)
    way = np.cumsum(np.r_[0, np.hypot(*np.diff(xy, axis=0).T)])[: len(xy)]
    way -= way[place == 0][chain]
    return way, way[np.cumsum(size) - 1]


def _longer(xy, size, reach, closed):
    """-> (P + 2 C reach, 2): reach points more at both ends, mirrored through the end, or from round a closed one."""
    chain, place = _count_up(size + 2 * reach)
    start, last = (np.cumsum(size) - size)[chain], (size - 1)[chain]
    at, turn = place - reach, 2 * np.maximum(last, 1)
    lap, at = np.where(closed[chain], 0, at // turn), at % np.where(closed[chain], size[chain], turn)
    back = (at > last) & (last > 0)
    first, end = xy[start], xy[start + last]
    value = xy[start + np.where(back, 2 * last - at, np.minimum(at, last))]
    return np.where(back[:, None], 2 * end - value, value) + (2 * lap)[:, None] * (end - first)


def _smooth(xy, size, sigma, closed):
    """Gaussian of sigma (C,) along each chain; the ends of an open one stay where they are."""
    out, sigma = np.empty_like(xy), np.round(sigma / SIGMA_STEP) * SIGMA_STEP
    for value in np.unique(sigma):
        mine, reach = sigma == value, int(np.ceil(3 * value))
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / value) ** 2)
        rows = np.repeat(mine, size)
        longer = _longer(xy[rows], size[mine], reach, closed[mine])
        chain, place = _count_up(size[mine] + 2 * reach)
        whole = (place < size[mine][chain])[: -2 * reach]  # the window lies in one chain
        out[rows] = np.stack([np.convolve(line, kernel / kernel.sum(), "valid")[whole] for line in longer.T], 1)
    return out


def _edge(image, xy, way, low, high):
    """Along way (N, 2) from xy (N, 2), where between low and high (N,) does the bilinear image fall under 0.5?"""
    out = np.empty(len(xy))
    for k in range(0, len(xy), EDGE_CHUNK):
        part = slice(k, k + EDGE_CHUNK)
        out[part] = _edge_part(image, xy[part], way[part], low[part], high[part])
    return out


def _edge_part(image, xy, way, low, high):
    """_edge for a few."""
    t = low[:, None] + np.linspace(0, 1, EDGE_SAMPLES) * (high - low)[:, None]
    x, y = (np.clip(xy[:, k, None] + t * way[:, k, None], 0, image.shape[1 - k] - 1.001) for k in (0, 1))
    left, top = x.astype(np.intp), y.astype(np.intp)
    corner, flat, fx, fy = top * image.shape[1] + left, image.ravel(), x - left, y - top
    upper, lower = (flat[c] * (1 - fx) + flat[c + 1] * fx for c in (corner, corner + image.shape[1]))
    value = upper * (1 - fy) + lower * fy
    value[:, -1] = np.minimum(value[:, -1], 0.49)  # no edge found: high
    rows, out = np.arange(len(t)), np.maximum(np.argmax(value < 0.5, 1), 1)
    before, after = value[rows, out - 1], value[rows, out]
    part = np.clip((before - 0.5) / np.maximum(before - after, 1e-6), 0, 1)
    return t[rows, out - 1] + part * (t[rows, out] - t[rows, out - 1])


def _drop(way, size, deep, free):
    """(C,) points to drop at the start of each chain: at a free end the skeleton turns into a corner."""
    chain, place = _count_up(size)
    true = np.where(way >= 3 * deep, place, size[chain])
    return np.where(free, np.minimum(np.minimum.reduceat(true, np.cumsum(size) - size), (size - 1) // 3), 0)


def _tips(padded, core, size, deep, hubs, side):
    """Where the chains end truly -> ((C, 2), (C,) px of zone in which no width can be had).

    From a junction (hubs (C, 3): x, y, depth) the line goes to its middle. A free end (nan) stops half a width short:
    straight on to the edge of the mask. A dot of one pixel goes to side, 1 or -1.
    """
    end = np.cumsum(size) - (size if side == 1 else 1)
    way = core[end] - core[end + side * np.minimum((2 * deep).astype(int) + 4, size - 1)]
    long = np.hypot(*way.T)[:, None]
    way = np.where(long > 0, way / np.maximum(long, 1e-9), (side, 0))
    far = _edge(padded, core[end], way, np.zeros(len(end)), 5.0 * deep + 2)
    free = np.isnan(hubs[:, 2])
    tips = np.where(free[:, None], core[end] + far[:, None] * way, hubs[:, :2])
    return tips, 1.5 * np.where(free, deep, hubs[:, 2]) + 1


def _resample(xy, size):
    """Lines -> (points a pixel apart (N, 2), their number (C,), length (C,))."""
    way, length = _run(xy, size)
    if not len(size):
        return xy, size, length
    number = np.ceil(length).astype(int) + 2
    line, place = _count_up(number)
    base = np.cumsum(length + 1) - length  # one line after the other, with a gap
    at = base[line] + place / (number - 1)[line] * length[line]
    known = way + np.repeat(base, size)
    return np.stack([np.interp(at, known, c) for c in xy.T], 1), number, length


def _core(xy, deep, size, ends):
    """Chains -> (smooth chains without the ends that are not their middle, points, (C, 2) depth where they end)."""
    order = np.lexsort((deep, np.repeat(np.arange(len(size)), size)))
    sigma = 1.5 + deep[order][np.cumsum(size) - size + size // 2] / 3  # wide cracks have rougher centre lines
    way, length = _run(xy, size)
    chain, place = _count_up(size)
    closed = ends["closed"]
    first = _drop(way, size, deep, ends["free"][:, 0])
    back = _drop((length[chain] - way)[::-1], size[::-1], deep[::-1], ends["free"][::-1, 1])[::-1]
    last = size - 1 - back - closed  # a closed chain has its first pixel twice
    stay = (place >= first[chain]) & (place <= last[chain])
    start = np.cumsum(size) - size
    core = _smooth(xy[stay], last - first + 1, sigma, closed)
    return core, last - first + 1, np.stack([deep[start + first], deep[start + last]], 1)


def centre_lines(padded, depth, chains, hubs):
    """Smooth the chains and measure along them.

    padded, depth: mask with an empty border, its distance transform; chains: C lists of pixel indices; hubs (C, 2, 3):
    x, y, depth of the junction at each of their ends, nan where the end is free
    -> dict of (C,) points (their number), length_px, free_ends; and of (N,) points one chain after another: xy (N, 2),
    width_px (nan near junctions and ends), width_rough_px, step_px, branch
    """
    size = np.array([len(c) for c in chains], int)
    pixels = np.concatenate([np.zeros(0, int), *chains])
    xy, deep = np.stack(np.divmod(pixels, padded.shape[1])[::-1], 1).astype(float), depth.ravel()[pixels]
    free = np.isnan(hubs[..., 2])
    closed = (size > 2) & free.all(1) & np.array([c[0] == c[-1] for c in chains], bool)
    ends = {"closed": closed, "free": free & ~closed[:, None]}
    core, size, deep = _core(xy, deep, size, ends)
    start = np.cumsum(size) - size
    (tip, zone), (tail, end_zone) = (
        _tips(padded, core, size, deep[:, k], hubs[:, k], side) for k, side in ((0, 1), (1, -1))
    )
    tip, tail = (np.where(closed[:, None], core[start], end) for end in (tip, tail))
    whole = np.insert(np.insert(core, np.cumsum(size), tail, axis=0), start + np.arange(len(size)), tip, axis=0)
    xy, number, length = _resample(whole, size + 2)
    line, place = _count_up(number)
    step = (length / (number - 1))[line]
    at, edge = place * step, (place == 0) | (place == number[line] - 1)
    clear = closed[line] | ((at >= zone[line]) & (length[line] - at >= end_zone[line]))
    width, rough = _widths(padded, depth, xy, number, clear)
    return {
        "points": number,
        "length_px": length,
        "free_ends": ends["free"].sum(1),
        "xy": xy,
        "width_px": width,
        "width_rough_px": rough,
        "step_px": np.where(edge, step / 2, step),
        "branch": line,
    }


def _widths(padded, depth, xy, number, clear):
    """Points (N, 2) -> (width_px by orthogonal profile where clear, else nan; rough width_px by depth), each (N,).

    The profile counts where it agrees with twice the depth; elsewhere it has run into a bay or a side branch.
    """
    x, y = np.clip(np.rint(xy).astype(int), 0, np.array(depth.shape[::-1]) - 1).T
    ridge = cv2.dilate(depth, np.ones((3, 3)))[y, x]
    rough = 2 * ridge - 0.5  # between 2d - 1 of an odd and 2d of an even width
    line, place = _count_up(number)
    here = np.arange(len(xy))
    before, after = here - (place > 0), here + (place < number[line] - 1)
    way = (xy[after] - xy[before])[clear][:, ::-1] * (1, -1)
    way /= np.maximum(np.hypot(*way.T), 1e-9)[:, None]
    low, high = np.maximum(depth[y, x] - 2, 0)[clear], 1.5 * ridge[clear] + 2
    profile = _edge(padded, xy[clear], way, low, high) + _edge(padded, xy[clear], -way, low, high)
    width, about = np.full(len(xy), np.nan), rough[clear]
    width[clear] = np.where(np.abs(profile - about) <= 0.5 * about + 1, profile, about)
    return width, rough
