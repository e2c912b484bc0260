"""Find what lies on the road for scale: an A4 sheet or an ArUco marker -> its corners in the photo.

Corners are (4, 2) float32 (x, y), clockwise; pixel centres lie at whole numbers.
"""

import cv2
import numpy as np

A4_MM = (297, 210)
SHEETS = ("a4", "letter")  # that --find-sheet offers
MARKERS = cv2.aruco.DICT_4X4_50
GRAINS = (1, 5, 13)  # pixels; bright stones at the sheet's rim spoil its outline, but a median rounds its corners
LEVELS = 16  # of brightness, to part the sheet from sunlit road that is as bright
FOCALS = np.geomspace(0.4, 1.3, 10)  # in diagonals of the photo: 17 to 56 mm on 35 mm film


def rectangle(width, height):
    """Corners, about the middle."""
    return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], np.float32) * (width / 2, height / 2)


def draw_marker(side=1200, rim=200):
    """(side + 2 rim, same) uint8: a marker to print, with the white rim it needs to be found."""
    square = cv2.aruco.generateImageMarker(cv2.aruco.getPredefinedDictionary(MARKERS), 0, side)
    return np.pad(square, rim, constant_values=255)


def find_marker(photo):
    """(H, W, 3) uint8 RGB -> corners of the largest ArUco marker of DICT_4X4_50, or None."""
    settings = cv2.aruco.DetectorParameters()
    settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(MARKERS), settings)
    found = detector.detectMarkers(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))[0]
    return max((np.reshape(f, (4, 2)) for f in found), key=cv2.contourArea, default=None)


def find_a4(photo, focal=None):
    """(H, W, 3) uint8 RGB -> (corners, where they are on the sheet (4, 2) mm) of the largest A4 sheet, or None.

    A sheet is a white quadrilateral that a camera can see as A4. focal: in diagonals of the photo; without, any
    usual one will do, and another paper that is tilted by 45 degrees or more may pass for A4.
    """
    white = cv2.medianBlur(photo.min(axis=2), 3)  # white is bright in every colour, yellow paint is not
    focals = np.hypot(*photo.shape[:2]) * (FOCALS if focal is None else np.array([focal]))
    for grains in GRAINS:
        fits = [_fit_a4(_sharpen(white, quad), white.shape, focals) for quad in _quadrilaterals(white, grains)]
        if fits := [fit for fit in fits if fit is not None]:
            return max(fits, key=lambda fit: cv2.contourArea(fit[0]))
    return None


def _quadrilaterals(white, grains):
    """(H, W) uint8 -> convex bright quadrilaterals of at least 1/1000 of the photo, whole in it."""
    shrink = max(1.0, max(white.shape) / 1600)
    small = cv2.resize(white, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
    small = cv2.medianBlur(small, grains)
    otsu = cv2.threshold(small, 0, 255, cv2.THRESH_OTSU)[0]
    for level in np.linspace(otsu, 255, LEVELS + 1)[:-1]:
        bright = (small > level).astype(np.uint8)
        for outline in cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
            quad = cv2.approxPolyDP(outline, 0.02 * cv2.arcLength(outline, True), True).reshape(-1, 2)
            full = cv2.contourArea(outline) > 0.95 * cv2.contourArea(quad) > 0.00095 * small.size
            inside = quad.min() > 0 and (quad.max(0) < np.array(small.shape[::-1]) - 1).all()
            if len(quad) == 4 and cv2.isContourConvex(quad) and full and inside:
                clockwise = quad if cv2.contourArea(quad, True) > 0 else quad[::-1]
                yield ((clockwise + 0.5) * shrink - 0.5).astype(np.float32)


def _sharpen(white, quad):
    """Corners to a part of a pixel: where the lines meet that are fitted to the sheet's four sides.

    A side is found at many places and its line fitted robustly, for stones and shadows hide it here and there.
    """
    for _ in range(2):  # the second time from nearby
        lines = [_side(white, one, other) for one, other in zip(quad, np.roll(quad, -1, axis=0), strict=True)]
        quad = np.array([_meet(lines[k - 1], lines[k]) for k in range(4)], np.float32)
    return quad


def _side(white, one, other):
    """Corners (2,), clockwise -> line (x, y, direction x and y) along the steepest fall of brightness outwards."""
    along = (other - one) / max(np.hypot(*(other - one)), 1e-6)
    out = along[::-1] * (1, -1)
    reach = np.clip(np.hypot(*(other - one)) / 20, 4, 15)
    start = one + np.linspace(0.1, 0.9, 60)[:, None] * (other - one)
    steps = np.arange(-reach, reach, 0.5)
    places = (start[:, None] + steps[:, None] * out).astype(np.float32)
    seen = cv2.remap(white, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    fall = np.diff(cv2.blur(seen.astype(np.float32), (5, 1)), axis=1)
    offset = steps[np.argmin(fall, axis=1)] + 0.25
    near = np.abs(offset - np.median(offset)) <= 3
    edge = (start + offset[:, None] * out)[near]
    return cv2.fitLine(edge.astype(np.float32), cv2.DIST_WELSCH, 0, 0.01, 0.01).ravel()[[2, 3, 0, 1]]


def _meet(one, other):
    """Where two lines (x, y, direction) cross; nan if they are parallel."""
    turn = one[2] * other[3] - one[3] * other[2]
    if abs(turn) < 1e-6:
        return np.full(2, np.nan)
    far = ((other[0] - one[0]) * other[3] - (other[1] - one[1]) * other[2]) / turn
    return one[:2] + far * one[2:]


def _fit_a4(corners, shape, focals):
    """Corners, possible focal lengths in px -> (corners, the sheet's in mm), or None if no camera sees A4 there."""
    middle, best = (shape[1] / 2 - 0.5, shape[0] / 2 - 0.5), (np.inf, None)
    for sheet in (rectangle(*A4_MM), rectangle(*A4_MM[::-1])):
        flat = np.c_[sheet, np.zeros(4)].astype(np.float32)
        for focal in focals:
            camera = np.array([(focal, 0, middle[0]), (0, focal, middle[1]), (0, 0, 1)])
            misses = np.ravel(cv2.solvePnPGeneric(flat, corners, camera, None, flags=cv2.SOLVEPNP_IPPE)[3])
            best = min(best, (misses.min(initial=np.inf), sheet), key=lambda fit: fit[0])
    allowed = 0.0025 * np.sqrt(cv2.contourArea(corners)) + 0.25  # letter paper, 9 % wider, misses by 1.3 % from above
    return (corners, best[1]) if best[0] < allowed else None
