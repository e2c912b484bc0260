"""Do two photos show the same piece of road? Answered by features (SIFT) that both have in the same places.

Stones and pores are as good as a fingerprint: they are found again in another light, turned by any angle, nearer or
farther. Of 4005 pairs of SUT-Crack photos 7 are found, among them some taken on other days and turned; those looked at
are all right. Two photos that share a fifth of their area are mostly found, from a half on nearly always.
"""

from typing import NamedTuple

import cv2
import numpy as np

SIDE = 512  # pixels of the longer side at which photos are compared
FEATURES = 500  # of a photo, the strongest
DISTINCT = 0.8  # a match is much nearer than the second nearest (Lowe 2004, section 7.1)
TOLERANCE = 6  # pixels at SIDE by which a match may be off: roads are not flat, photos are tilted
AGREEING = 12  # matches that must agree on one shift, turn and scale
SCALES = (0.4, 2.5)  # between two photos; wrong matches shrink one photo to a point


class Features(NamedTuple):
    """What is compared of a photo."""

    places: np.ndarray  # (N, 2) float32, x and y in pixels of the small photo
    descriptions: np.ndarray  # (N, 128) float32
    corners: np.ndarray  # (4, 2) float32, of the small photo


def shrunk(photo):
    """(H, W, 3) uint8 RGB -> (h, w) uint8 grey whose longer side is SIDE pixels."""
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def features(grey):
    """(h, w) uint8 of `shrunk` -> Features."""
    points, descriptions = cv2.SIFT_create(FEATURES).detectAndCompute(grey, None)
    places = np.float32([point.pt for point in points]).reshape(-1, 2)
    if descriptions is None:
        descriptions = np.zeros((0, 128), np.float32)
    height, width = grey.shape
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    return Features(places, descriptions, corners)


def overlap(one, other):
    """Features of two photos -> share (0 to 1) of the smaller view that both show; 0 where none is found."""
    here, there = matches(one, other)
    if len(here) < AGREEING:
        return 0.0
    cv2.setRNGSeed(0)  # RANSAC draws at random; the same two photos always get the same answer
    view, agree = cv2.estimateAffinePartial2D(here, there, method=cv2.RANSAC, ransacReprojThreshold=TOLERANCE)
    if view is None or agree.sum() < AGREEING:
        return 0.0
    scale = np.hypot(*view[:, 0])
    if not SCALES[0] < scale < SCALES[1]:
        return 0.0
    seen = cv2.transform(one.corners[None], view)[0].astype(np.float32)
    common, _ = cv2.intersectConvexConvex(seen, other.corners)
    return float(common / min(cv2.contourArea(seen), cv2.contourArea(other.corners)))


def matches(one, other):
    """Features of two photos -> places (N, 2) in the one and in the other that look alike and like nothing else."""
    if min(len(one.places), len(other.places)) < AGREEING:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    nearest = {}  # index in the other photo -> its best match: each feature is used once
    for best, second in cv2.BFMatcher(cv2.NORM_L2).knnMatch(one.descriptions, other.descriptions, k=2):
        rival = nearest.get(best.trainIdx)
        is_distinct = best.distance < DISTINCT * second.distance
        if is_distinct and (rival is None or best.distance < rival.distance):
            nearest[best.trainIdx] = best
    here = one.places[[match.queryIdx for match in nearest.values()]]
    there = other.places[[match.trainIdx for match in nearest.values()]]
    return here, there
