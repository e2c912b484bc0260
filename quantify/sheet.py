"""Find what lies on the road for scale: a sheet of paper or an ArUco marker -> its corners in the photo.

Corners are (4, 2) float32 (x, y), clockwise; pixel centres lie at whole numbers.
"""

from dataclasses import dataclass

import cv2
import numpy as np

PAPERS_MM = {"a4": (297, 210), "letter": (279.4, 215.9), "legal": (355.6, 215.9)}
PAPER_NAMES = {"a4": "A4", "letter": "US Letter", "legal": "US Legal"}
SHEETS = ("a4", "letter")  # that --find-sheet offers; legal paper is only tried as a rival of both
MARKERS = cv2.aruco.DICT_4X4_50
MARKER_ID = 0  # of the one that draw_marker draws
CELLS = 6  # along a marker's side: four of the pattern and the black border
RIM = 0.5 / CELLS  # of the side: a marker is used only if the paper around it is white that far
GRAINS = (1, 5, 13)  # px of the median filters to try: they remove bright stones at the edge, but round the corners
LEVELS = 16  # thresholds of brightness to try: sunlit road can be nearly as bright as the sheet
FOCALS = np.geomspace(0.4, 1.3, 10)  # in diagonals of the photo: 17 to 56 mm on 35 mm film


@dataclass(frozen=True)
class Sheet:
    """A white quadrilateral of the photo and the papers that it can be."""

    corners: np.ndarray  # (4, 2) px in the photo
    papers: dict  # key of PAPERS_MM: where the same corners are on that paper, (4, 2) mm


@dataclass(frozen=True)
class Marker:
    """An ArUco marker of the photo."""

    corners: np.ndarray  # (4, 2) px of the black square
    number: int  # in the dictionary
    white_rim: bool  # is it black up to its corners, and the paper around it white?


def rectangle(width, height):
    """Corners, about the middle."""
    return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], np.float32) * (width / 2, height / 2)


def draw_marker(side=1200, rim=200, number=MARKER_ID):
    """(side + 2 rim, same) uint8: a marker to print, with the white rim it needs to be found."""
    square = cv2.aruco.generateImageMarker(cv2.aruco.getPredefinedDictionary(MARKERS), number, side)
    return np.pad(square, rim, constant_values=255)


def find_markers(photo):
    """(H, W, 3) uint8 RGB -> list of Marker of DICT_4X4_50, the largest first."""
    settings = cv2.aruco.DetectorParameters()
    settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(MARKERS), settings)
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    corners, numbers, _ = detector.detectMarkers(grey)
    found = []
    for quad, number in zip(corners, np.ravel(numbers) if len(corners) else [], strict=True):
        quad = np.reshape(quad, (4, 2))
        found.append(Marker(quad, int(number), _has_white_rim(grey, quad)))
    return sorted(found, key=lambda marker: cv2.contourArea(marker.corners), reverse=True)


def _has_white_rim(grey, corners):
    """Is the square black up to its sides, and white half a cell beyond them, nearly everywhere along each side?

    Without a rim, or with a narrow one, the detector may take the edge of the paper for the edge of the square, and
    every length is then wrong by 5 to 14 %.
    """
    side_px = np.sqrt(cv2.contourArea(corners))
    close = max(0.12 / CELLS, 1 / side_px)  # of the side: just inside and just outside of it
    inside, edge, beyond = (_frame(grey, corners, distance) for distance in (-close, close, RIM))
    square = cv2.warpPerspective(
        grey, cv2.getPerspectiveTransform(corners, np.float32(rectangle(60, 60) + 29.5)), (60, 60)
    )
    black, white = np.percentile(square, (3, 97))
    dark = inside < black + 0.5 * (white - black)
    bright = np.minimum(edge, beyond) > black + 0.4 * (white - black)  # paper in shade is darker than in the sun
    return bool((np.mean(dark & bright, axis=1) >= 0.8).all())


def _frame(grey, corners, distance):
    """(4, 17) brightness along the four sides of a square that is larger by `distance` of its side, all around."""
    along = np.linspace(-0.45, 0.45, 17)
    out = np.full(17, 0.5 + distance)
    sides = [(along, -out), (out, along), (along, out), (-out, along)]
    points = np.float32([np.stack(side, axis=1) for side in sides])
    into_photo = cv2.getPerspectiveTransform(np.float32(rectangle(1, 1)), corners)
    places = cv2.perspectiveTransform(points, into_photo)
    return cv2.remap(grey, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def find_sheets(photo, paper, focal=None):
    """(H, W, 3) uint8 RGB, key of PAPERS_MM -> list of Sheet, the largest first: the white sheets in the photo.

    A sheet is a white quadrilateral that a camera can see as one of the papers. If any can be `paper`, only those are
    given. focal: focal length in diagonals of the photo; without it every usual one is tried, and a tilted sheet can
    then often be more than one paper. Two outlines at one place are one sheet.
    """
    white = cv2.medianBlur(photo.min(axis=2), 3)  # white is bright in every colour, yellow paint is not
    focals = np.hypot(*photo.shape[:2]) * (FOCALS if focal is None else np.array([focal]))
    others = []
    for grains in GRAINS:
        corners = [_sharpen(white, quad) for quad in _quadrilaterals(white, grains)]
        sheets = [Sheet(quad, _fitting_papers(quad, white.shape, focals)) for quad in corners]
        asked = [sheet for sheet in sheets if paper in sheet.papers]
        if asked:
            return _one_a_place(asked)
        others += [sheet for sheet in sheets if sheet.papers]
    return _one_a_place(others)


def _one_a_place(sheets):
    """The largest first, without those that lie on a larger one."""
    kept = []
    for sheet in sorted(sheets, key=lambda sheet: cv2.contourArea(sheet.corners), reverse=True):
        x, y = sheet.corners.mean(axis=0).tolist()
        if all(cv2.pointPolygonTest(other.corners, (x, y), False) < 0 for other in kept):
            kept.append(sheet)
    return kept


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

    A side is found at many places and its line fitted robustly, because stones and shadows hide it here and there.
    """
    for _ in range(2):  # the second time from nearby
        lines = [_side(white, one, other) for one, other in zip(quad, np.roll(quad, -1, axis=0), strict=True)]
        quad = np.array([_meet(lines[k - 1], lines[k]) for k in range(4)], np.float32)
    return quad


def _side(white, one, other):
    """Corners (2,), clockwise -> line (x, y, direction x and y) along the steepest fall of brightness outwards."""
    length = max(np.hypot(*(other - one)), 1e-6)
    along = (other - one) / length
    out = np.array([along[1], -along[0]])
    reach = np.clip(length / 20, 4, 15)
    start = one + np.linspace(0.1, 0.9, 60)[:, None] * (other - one)
    steps = np.arange(-reach, reach, 0.5)
    places = (start[:, None] + steps[:, None] * out).astype(np.float32)
    seen = cv2.remap(white, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    fall = np.diff(cv2.blur(seen.astype(np.float32), (5, 1)), axis=1)
    offset = steps[np.argmin(fall, axis=1)] + 0.25  # a difference lies between two steps
    near = np.abs(offset - np.median(offset)) <= 3
    edge = (start + offset[:, None] * out)[near]
    direction_x, direction_y, x, y = cv2.fitLine(edge.astype(np.float32), cv2.DIST_WELSCH, 0, 0.01, 0.01).ravel()
    return np.array([x, y, direction_x, direction_y])


def _meet(one, other):
    """Where two lines (x, y, direction) cross; nan if they are parallel."""
    turn = one[2] * other[3] - one[3] * other[2]
    if abs(turn) < 1e-6:
        return np.full(2, np.nan)
    far = ((other[0] - one[0]) * other[3] - (other[1] - one[1]) * other[2]) / turn
    return one[:2] + far * one[2:]


def _fitting_papers(corners, shape, focals):
    """Corners, possible focal lengths in px -> {paper: the sheet's corners in mm} for each that a camera can see there.

    The camera's position is fitted for each paper, way round and focal length; what counts is how far the paper's
    corners then miss the found ones (root mean square).
    """
    allowed = 0.0025 * np.sqrt(cv2.contourArea(corners)) + 0.25  # px; letter and A4 miss each other by 1.3 % from above
    fitting = {}
    for paper, (long, short) in PAPERS_MM.items():
        ways = [rectangle(long, short), rectangle(short, long)]
        misses = [min(_miss(sheet, corners, shape, focal) for focal in focals) for sheet in ways]
        best = int(np.argmin(misses))
        if misses[best] < allowed:
            fitting[paper] = ways[best]
    return fitting


def _miss(sheet, corners, shape, focal):
    """Root mean square distance, px, of the corners from where the best placed camera sees the sheet's (in mm)."""
    camera = np.array([(focal, 0, shape[1] / 2 - 0.5), (0, focal, shape[0] / 2 - 0.5), (0, 0, 1)])
    flat = np.c_[sheet, np.zeros(4)].astype(np.float32)
    errors = cv2.solvePnPGeneric(flat, corners, camera, None, flags=cv2.SOLVEPNP_IPPE)[3]
    return np.min(errors, initial=np.inf)
