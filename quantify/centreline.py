"""Chains of skeleton pixels -> smooth centre lines with a point per pixel of length, and the width at each point.

A skeleton steps from pixel to pixel; smoothed, it gives a length that does not depend on the angle of the crack.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

SIGMA_STEP = 0.25  # px; strengths of smoothing are rounded to it, so that few kernels are computed
TRACE_PX = 1  # a turn of the skeleton counts from here on: its pixels lie up to 0.7 px, half a diagonal, off the line
EDGE_SAMPLES = 16  # along a profile across the crack
EDGE_CHUNK = 1 << 14  # profiles at a time, so that they stay in the processor's cache


@dataclass(frozen=True)
class Middle:
    """A chain without those of its ends that are not the crack's middle."""

    smooth: np.ndarray  # (n, 2) px, n >= 1
    pixels: np.ndarray  # (n, 2) px, the same places as the skeleton has them
    end_depth: tuple  # distance to the road at the first and at the last place, px
    closed: bool  # a ring; its last place is followed by its first


def centre_lines(padded, depth, chains, hubs):
    """Smooth the chains and measure along them.

    padded, depth: (H, W) mask with an empty border, and its distance transform; chains: C lists of pixel indices;
    hubs (C, 2, 3): x, y and depth of the junction at each of their ends, nan where the end is free.
    -> dict of arrays. (C,), one for each line: length_px; traced_length_px, of the line as the skeleton draws it,
    without smoothing. (N,), one for each point, line after line: xy (N, 2); width_px, nan near junctions and ends;
    width_rough_px, never nan; step_px, the length that the point stands for; branch, the line it belongs to.
    """
    middles = [_middle(chain, depth, hub) for chain, hub in zip(chains, hubs, strict=True)]
    tips = _tips(padded, middles, hubs)
    zones = _zones(middles, hubs)
    lines = [_line(middle, tip, zone) for middle, tip, zone in zip(middles, tips, zones, strict=True)]
    points = [line["xy"] for line in lines]
    xy = np.concatenate([np.zeros((0, 2)), *points])
    along = np.concatenate([np.zeros((0, 2)), *[np.gradient(place, axis=0) for place in points]])
    clear = np.concatenate([np.zeros(0, bool), *[line["clear"] for line in lines]])
    width, rough = _widths(padded, depth, xy, along, clear)
    return {
        "length_px": np.array([line["length_px"] for line in lines]),
        "traced_length_px": np.array([_traced(middle, tip) for middle, tip in zip(middles, tips, strict=True)]),
        "xy": xy,
        "width_px": width,
        "width_rough_px": rough,
        "step_px": np.concatenate([np.zeros(0), *[line["step_px"] for line in lines]]),
        "branch": np.repeat(np.arange(len(lines)), [len(place) for place in points]),
    }


def _middle(chain, depth, hub):
    """Pixel indices, distance transform, (2, 3) junctions at the ends -> Middle."""
    chain = np.array(chain)
    rows, columns = np.divmod(chain, depth.shape[1])
    pixels = np.stack([columns, rows], axis=1).astype(float)
    deep = depth.ravel()[chain]
    free = np.isnan(hub[:, 2])
    closed = len(chain) > 2 and bool(free.all()) and chain[0] == chain[-1]

    first, last = 0, len(chain) - 1
    if closed:
        last -= 1  # a ring's first pixel stands at its end, too
    else:
        way = _way(pixels)
        if free[0]:
            first += _corner(way, deep)
        if free[1]:
            last -= _corner((way[-1] - way)[::-1], deep[::-1])

    sigma = 1.5 + np.sort(deep)[len(deep) // 2] / 3  # the skeleton of a wide crack is rougher
    kept = pixels[first : last + 1]
    return Middle(smoothed(kept, sigma, closed), kept, (deep[first], deep[last]), closed)


def _way(xy):
    """(n, 2) -> (n,) length of the line from its first point up to each."""
    return np.concatenate([[0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])


def _corner(way, deep):
    """How many pixels to leave out at a free end, where a skeleton turns into a corner of the crack?

    way, deep: (n,) length from that end and distance to the road. At most a third of the chain.
    """
    beyond = np.flatnonzero(way >= 3 * deep)
    most = (len(way) - 1) // 3
    return min(beyond[0], most) if beyond.size else most


@lru_cache
def _gaussian(sigma):
    """Kernel of 3 sigma to both sides, with the sum 1."""
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return kernel / kernel.sum()


def smoothed(xy, sigma, closed):
    """(n, 2) -> (n, 2): a Gaussian along the line. The ends of an open one stay where they are.

    For that an open line goes on beyond its ends, turned by 180 degrees about them: the mean of a point and of the one
    opposite is the end itself.
    """
    kernel = _gaussian(float(np.round(sigma / SIGMA_STEP) * SIGMA_STEP))
    reach = len(kernel) // 2
    around = {"mode": "wrap"} if closed else {"mode": "reflect", "reflect_type": "odd"}
    longer = np.pad(xy, ((reach, reach), (0, 0)), **around)
    return np.stack([np.convolve(coordinate, kernel, "valid") for coordinate in longer.T], axis=1)


def _tips(padded, middles, hubs):
    """Where the lines truly end -> (C, 2, 2) px: first and last point of each.

    A line that meets a junction goes to its middle, and one with a free end straight on to the edge of the mask. A
    ring ends where it begins.
    """
    places, directions, depths = [], [], []
    for middle in middles:
        for end, deep, aside in ((0, middle.end_depth[0], 1.0), (-1, middle.end_depth[1], -1.0)):
            outwards = middle.smooth if end == -1 else middle.smooth[::-1]
            back = min(int(2 * deep) + 4, len(outwards) - 1)
            direction = outwards[-1] - outwards[-1 - back]
            length = np.hypot(*direction)
            places.append(outwards[-1])
            directions.append(direction / length if length > 0 else (aside, 0.0))  # a dot goes to both sides
            depths.append(deep)
    places, directions = np.array(places).reshape(-1, 2), np.array(directions).reshape(-1, 2)
    farthest = 5.0 * np.array(depths) + 2
    reach = _edge(padded, places, directions, np.zeros(len(places)), farthest)
    tips = (places + reach[:, None] * directions).reshape(-1, 2, 2)
    joined = ~np.isnan(hubs[..., 2])
    tips[joined] = hubs[joined][:, :2]
    for tip, middle in zip(tips, middles, strict=True):
        if middle.closed:
            tip[:] = middle.smooth[0]
    return tips


def _zones(middles, hubs):
    """(C, 2) px: so near to their ends, which are free or at junctions, lines have no width of their own."""
    depths = np.array([middle.end_depth for middle in middles], float).reshape(-1, 2)
    return 1.5 * np.where(np.isnan(hubs[..., 2]), depths, hubs[..., 2]) + 1


def _line(middle, tip, zone):
    """Middle, its first and last point (2, 2), zones (2,) -> dict: points a pixel apart, and which can have a width."""
    whole = np.concatenate([tip[:1], middle.smooth, tip[1:]])
    way = _way(whole)
    length = way[-1]
    count = int(np.ceil(length)) + 2
    place = np.arange(count)
    at = place / (count - 1) * length
    step = length / (count - 1)
    steps = np.full(count, step)
    steps[[0, -1]] = step / 2  # the outermost points stand for half as much
    from_start = place * step
    clear = (from_start >= zone[0]) & (length - from_start >= zone[1])
    return {
        "length_px": length,
        "xy": np.stack([np.interp(at, way, coordinate) for coordinate in whole.T], axis=1),
        "step_px": steps,
        "clear": clear | middle.closed,
    }


def _traced(middle, tip):
    """Length, px, of the line along every turn of the skeleton that is more than TRACE_PX.

    The polygon of Douglas and Peucker, "Algorithms for the reduction of the number of points required to represent a
    digitized line or its caricature", Cartographica 10(2), 1973.
    """
    whole = middle.pixels if middle.closed else np.concatenate([tip[:1], middle.pixels, tip[1:]])
    polygon = cv2.approxPolyDP(whole.astype(np.float32), TRACE_PX, middle.closed)
    return cv2.arcLength(polygon, middle.closed)


def _widths(padded, depth, xy, along, clear):
    """Points (N, 2) and the direction of their line (N, 2) -> (width_px where clear, else nan; width_rough_px), (N,).

    The width is that of a profile at right angles. It counts where it agrees with twice the distance to the road;
    elsewhere the profile has run into a bay or a side branch.
    """
    columns, rows = np.clip(np.rint(xy).astype(int), 0, np.array(depth.shape[::-1]) - 1).T
    ridge = cv2.dilate(depth, np.ones((3, 3)))[rows, columns]
    rough = 2 * ridge - 0.5  # between 2 d - 1 of an odd and 2 d of an even width

    across = along[clear][:, ::-1] * (1, -1)
    across /= np.maximum(np.hypot(*across.T), 1e-9)[:, None]
    low = np.maximum(depth[rows, columns] - 2, 0)[clear]
    high = 1.5 * ridge[clear] + 2
    one_side = _edge(padded, xy[clear], across, low, high)
    other_side = _edge(padded, xy[clear], -across, low, high)
    profile, about = one_side + other_side, rough[clear]
    width = np.full(len(xy), np.nan)
    width[clear] = np.where(np.abs(profile - about) <= 0.5 * about + 1, profile, about)
    return width, rough


def _edge(image, xy, way, low, high):
    """Along way (N, 2) from xy (N, 2), how far is it to where the image, interpolated, falls under 0.5?

    -> (N,) px between low and high (N,); high where it does not.
    """
    found = np.empty(len(xy))
    for start in range(0, len(xy), EDGE_CHUNK):
        part = slice(start, start + EDGE_CHUNK)
        found[part] = _edge_of_some(image, xy[part], way[part], low[part], high[part])
    return found


def _edge_of_some(image, xy, way, low, high):
    """_edge for at most EDGE_CHUNK points."""
    distance = low[:, None] + np.linspace(0, 1, EDGE_SAMPLES) * (high - low)[:, None]
    value = _bilinear(image, xy[:, :1] + distance * way[:, :1], xy[:, 1:] + distance * way[:, 1:])
    value[:, -1] = np.minimum(value[:, -1], 0.49)  # if there is no edge, it is at `high`
    rows = np.arange(len(distance))
    under = np.maximum(np.argmax(value < 0.5, axis=1), 1)  # the first sample on the road
    before, after = value[rows, under - 1], value[rows, under]
    share = np.clip((before - 0.5) / np.maximum(before - after, 1e-6), 0, 1)
    return distance[rows, under - 1] + share * (distance[rows, under] - distance[rows, under - 1])


def _bilinear(image, x, y):
    """(H, W) image at places (..., ) -> the same shape. Not cv2.remap, which knows 1/32 of a pixel at best."""
    height, width = image.shape
    x, y = np.clip(x, 0, width - 1.001), np.clip(y, 0, height - 1.001)
    left, top = x.astype(np.intp), y.astype(np.intp)
    right_share, lower_share = x - left, y - top
    flat, corner = image.ravel(), top * width + left
    upper = flat[corner] * (1 - right_share) + flat[corner + 1] * right_share
    lower = flat[corner + width] * (1 - right_share) + flat[corner + width + 1] * right_share
    return upper * (1 - lower_share) + lower * lower_share
