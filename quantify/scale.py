"""How large is a pixel on the road? A flag, a sheet of paper, a marker or EXIF -> millimetres per pixel.

With a sheet or a marker the photo can also be turned into the road seen from straight above (plane.py).
A marker to print: python quantify/scale.py marker.png
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
from command import BadInput, Parser, execute, number
from formats.exif import DIAGONAL_35MM, exif
from formats.photo import write_image
from quantify.plane import difference, grid_points, project, road_plane, size_errors, view_from_above, visible_part
from quantify.sheet import MARKER_ID, PAPER_NAMES, RIM, SHEETS, draw_marker, find_markers, find_sheets, rectangle

FINEST_MM, COARSEST_MM = 0.01, 100  # of a pixel; beyond them the number is a slip of the pen, such as metres for mm
SCALE_FLAGS = ("--mm-per-pixel", "--reference", "--marker-mm", "--find-sheet", "--camera-height-mm")

# relative errors, 1 standard deviation
SHEET_RELATIVE = 0.01  # paper curls, a printer does not print quite to scale, lenses bend lines
TAPE_RELATIVE = 0.01  # the length of a reference line on the road
CLICK_PX = 2  # both ends of a reference line together
GIVEN_RELATIVE = 0.05  # --mm-per-pixel as users know it
ROUGH_RELATIVE = 0.2  # the height of a hand-held camera

# two markers or sheets in one photo contradict each other if their sizes differ by more than
LEAST_CONTRADICTION, MOST_CONTRADICTION = 0.05, 0.2  # between these, by 3 standard deviations of what is found
INSTEAD = "give --reference x1,y1,x2,y2,MM or --mm-per-pixel instead"


@dataclass(frozen=True)
class ScaleOptions:
    """Where the scale comes from, as the user asked: at most one of these is not None."""

    mm_per_pixel: float | None = None
    reference: tuple | None = None  # x1, y1, x2, y2 in pixels, then the millimetres between the two points
    marker_mm: float | None = None  # side of the printed marker's black square
    sheet: str | None = None  # one of SHEETS
    camera_height_mm: float | None = None

    @property
    def given(self):
        """Did the user ask for a scale at all?"""
        return any(value is not None for value in vars(self).values())


@dataclass(frozen=True)
class Scale:
    """What a pixel is on the road."""

    mm_per_pixel: float  # in the road's plane; with a homography of the photo seen from above
    relative: float  # relative error of mm_per_pixel, 1 standard deviation
    source: str
    homography: np.ndarray | None = None  # (3, 3) photo px -> px seen from above; None: the camera looked straight down
    tilt_deg: float = 10.0  # assumed where no homography takes it out
    papers: tuple = ()  # (4, 2) px in the photo each: the corners of sheets and markers, which hide the road
    note: str = ""  # what speaks against this scale, for the user to read; empty if nothing does


def reference(text):
    """ "x1,y1,x2,y2,MM" -> those five floats. Raises BadInput for anything else and for a line of no length."""
    try:
        x1, y1, x2, y2, mm = [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"--reference {text}: not x1,y1,x2,y2,MM; give five numbers, say 100,200,900,210,500") from None
    if not (np.isfinite([x1, y1, x2, y2]).all() and (x1, y1) != (x2, y2) and 0 < mm < np.inf):
        raise BadInput(f"--reference {text}: a line of no length; give two different points and millimetres above 0")
    return x1, y1, x2, y2, mm


def add_scale_flags(parser):
    """Give an ArgumentParser the flags that scale_options reads; at most one can be given."""
    group = parser.add_argument_group("scale", "one of these turns pixels into millimetres")
    one = group.add_mutually_exclusive_group()
    one.add_argument(
        "--mm-per-pixel",
        type=number(float, FINEST_MM, COARSEST_MM),
        metavar="MM",
        help="size of a pixel on the road, from above",
    )
    one.add_argument(
        "--reference",
        type=reference,
        metavar="x1,y1,x2,y2,MM",
        help="two points in the photo and the millimetres between them on the road",
    )
    one.add_argument(
        "--marker-mm",
        type=number(float, above=0),
        metavar="MM",
        help="find the printed ArUco marker; MM is the side of its black square. "
        "python quantify/scale.py marker.png makes one to print. Corrects the camera's tilt",
    )
    one.add_argument(
        "--find-sheet",
        choices=SHEETS,
        help="find a white sheet of this paper on the road. Corrects the camera's tilt",
    )
    one.add_argument(
        "--camera-height-mm",
        type=number(float, above=0),
        metavar="MM",
        help="height above the road of a camera that looks straight down, with the focal length in the photo's EXIF: "
        "a rough scale",
    )


def scale_options(args):
    """Parsed arguments of add_scale_flags -> ScaleOptions."""
    return ScaleOptions(args.mm_per_pixel, args.reference, args.marker_mm, args.find_sheet, args.camera_height_mm)


def find_scale(photo, path, options):
    """(H, W, 3) uint8 RGB, its file, ScaleOptions -> Scale, or None if none was asked for.

    Raises BadInput for what is asked for and not in the photo (a line, a sheet, a marker, a focal length), where two
    markers or sheets contradict each other, and for a scale at which no photo shows a crack.
    """
    scale = _asked_for(photo, path, options)
    if scale is not None and not FINEST_MM <= scale.mm_per_pixel <= COARSEST_MM:
        raise BadInput(
            f"{path}: a scale of {scale.mm_per_pixel:.2g} mm a pixel ({scale.source}), not between {FINEST_MM} and "
            f"{COARSEST_MM}; check that what you gave is in millimetres"
        )
    return scale


def _asked_for(photo, path, options):
    """find_scale, before its result is checked."""
    if options.mm_per_pixel is not None:
        return Scale(options.mm_per_pixel, GIVEN_RELATIVE, "given with --mm-per-pixel, not measured in the photo")
    if options.reference is not None:
        return _along_line(photo, path, options.reference)
    if options.marker_mm is not None:
        return _from_marker(photo, path, options.marker_mm)
    if options.sheet is not None:
        return _from_sheet(photo, path, options.sheet)
    if options.camera_height_mm is not None:
        return _from_height(photo, path, options.camera_height_mm)
    return None


def _along_line(photo, path, reference):
    """Scale from a line of known length. Raises BadInput where it leaves the photo."""
    x1, y1, x2, y2, mm = reference
    height, width = photo.shape[:2]
    across = 0 <= x1 <= width - 1 and 0 <= x2 <= width - 1
    down = 0 <= y1 <= height - 1 and 0 <= y2 <= height - 1
    if not (across and down):
        raise BadInput(f"{path}: --reference leaves the photo of {width}×{height} pixels; give points inside it")
    length = float(np.hypot(x2 - x1, y2 - y1))
    return Scale(mm / length, float(np.hypot(CLICK_PX / length, TAPE_RELATIVE)), "reference line")


def _focal_35mm(photo, path):
    """-> (focal length of the whole photo in mm as on 35 mm film or None, reason why there is none).

    EXIF keeps the focal length of the photo as it was taken. A part that was cut out of it shows less of the road, so
    it is only used where the file still has the size that EXIF states (either way round: photos are turned upright).
    """
    found = exif(path)
    if found["focal_35mm"] is None:
        return None, "the EXIF has no focal length"
    taken = found["pixel_width"], found["pixel_height"]
    height, width = photo.shape[:2]
    if None not in taken and sorted(taken) != sorted((width, height)):
        return None, f"it was cropped or resized from {taken[0]}×{taken[1]} to {width}×{height} pixels"
    return found["focal_35mm"], ""


def _from_height(photo, path, height_mm):
    """Scale of a camera that looks straight down. Raises BadInput without a focal length of the whole photo.

    A film of 36 by 24 mm behind a lens of focal length f shows height / f times its size (intercept theorem).
    """
    focal, reason = _focal_35mm(photo, path)
    if focal is None:
        raise BadInput(f"{path}: {reason}, so --camera-height-mm gives no scale; take the original, or {INSTEAD}")
    pixel = height_mm * DIAGONAL_35MM / (focal * np.hypot(*photo.shape[:2]))
    return Scale(float(pixel), ROUGH_RELATIVE, "camera height and EXIF focal length (rough)")


def _from_marker(photo, path, mm):
    """Scale from the marker that draw_marker prints, or from another one where that is not in the photo.

    Raises BadInput where there is none, where one has no white rim, and where two contradict each other.
    """
    markers = find_markers(photo)
    if not markers:
        raise BadInput(f"{path}: no ArUco marker of DICT_4X4_50 found; show it sharp, with its white rim, or {INSTEAD}")
    printed = [marker for marker in markers if marker.number == MARKER_ID]
    chosen = printed or markers
    if not all(marker.white_rim for marker in chosen):
        raise BadInput(
            f"{path}: the marker has no white rim all around, so its edges cannot be found exactly; print it with "
            f"python quantify/scale.py and cut nothing off the white, or {INSTEAD}"
        )
    square = rectangle(mm, mm)
    if _contradict([(marker.corners, square) for marker in chosen]):
        numbers = ", ".join(str(marker.number) for marker in chosen)
        raise BadInput(
            f"{path}: {len(chosen)} ArUco markers (ids {numbers}) that cannot all have a side of {mm:g} mm; "
            f"leave only yours in the photo, or {INSTEAD}"
        )
    notes = []
    others = sorted({marker.number for marker in markers} - {chosen[0].number})
    if not printed:
        notes.append(f"the marker has id {chosen[0].number}, not {MARKER_ID} as the printed one: is it yours?")
    if others:
        notes.append(f"another marker (id {', '.join(map(str, others))}) is in the photo and was not used")
    scale = _from_corners(chosen[0].corners, square, photo.shape, "ArUco marker")
    papers = tuple(_with_rim(marker.corners) for marker in markers)
    return replace(scale, papers=papers, note="; ".join(notes))


def _from_sheet(photo, path, paper):
    """Scale from the largest white sheet that can be this paper.

    Raises BadInput where there is none, and where two of different size can be it. Where the sheet can also be another
    paper, that is noted, and the error covers that it is.
    """
    focal, reason = _focal_35mm(photo, path)
    found = find_sheets(photo, paper, None if focal is None else focal / DIAGONAL_35MM)
    name = PAPER_NAMES[paper]
    sheets = [sheet for sheet in found if paper in sheet.papers]
    if not sheets:
        seen = [PAPER_NAMES[other] for sheet in found[:1] for other in sheet.papers]
        instead = f"the white sheet there has the shape of {' or '.join(seen)}" if seen else "none is seen"
        raise BadInput(
            f"{path}: no {name} sheet found ({instead}); lay one flat, white side up, whole in the photo, or {INSTEAD}"
        )
    if _contradict([(sheet.corners, sheet.papers[paper]) for sheet in sheets]):
        raise BadInput(
            f"{path}: {len(sheets)} white areas have the shape of {name}, but not the same size; "
            f"leave only the sheet in the photo, or {INSTEAD}"
        )
    corners, papers = sheets[0].corners, sheets[0].papers
    scale = _from_corners(corners, papers[paper], photo.shape, f"{name} sheet")
    scale = replace(scale, papers=tuple(sheet.corners for sheet in sheets))
    rivals = [other for other in papers if other != paper]
    if not rivals:
        return scale
    plane = road_plane(corners, papers[paper])
    points = grid_points(plane, photo.shape)
    off = max(difference(plane, road_plane(corners, papers[rival]), points) for rival in rivals)
    names = " or ".join(PAPER_NAMES[rival] for rival in rivals)
    note = f"the sheet can also be {names}, from this angle they cannot be told apart; check that it is {name}"
    if reason:
        note += f" ({reason})"
    return replace(scale, relative=float(np.hypot(scale.relative, off)), note=note)


def _contradict(candidates):
    """[(corners (4, 2) px, (4, 2) mm), ...] of one photo, the largest first: do their sizes differ on the road?

    On the plane of the first, each of the others must have the size that it is taken for. The farther it is and the
    smaller the first, the less sure that is.
    """
    (corners, sheet), *others = candidates
    plane = road_plane(corners, sheet)
    for other, other_sheet in others:
        seen = np.sqrt(cv2.contourArea(np.float32(project(plane, other))) / cv2.contourArea(np.float32(other_sheet)))
        sigma = size_errors(corners, sheet, other.mean(axis=0, keepdims=True))[0]
        if abs(np.log(seen)) > np.clip(3 * sigma, LEAST_CONTRADICTION, MOST_CONTRADICTION):
            return True
    return False


def _with_rim(corners):
    """Corners (4, 2) px of a marker's black square -> those of the white paper around it, as far as it must reach."""
    square = rectangle(1, 1)
    return project(np.linalg.inv(road_plane(corners, square)), (1 + 2 * RIM) * square)


def _from_corners(corners, sheet, shape, source):
    """Corners (4, 2) px in the photo and (4, 2) mm on the road -> Scale that turns the photo into a view from above.

    Its error is the root mean square over the photo of what uncertain corners do, and that of the sheet itself.
    """
    plane = road_plane(corners, sheet)
    homography, mm_per_pixel = view_from_above(plane, np.mean(corners, axis=0), shape)
    errors = size_errors(corners, sheet, grid_points(plane, shape))
    relative = float(np.sqrt(np.mean(errors**2) + SHEET_RELATIVE**2))
    return Scale(mm_per_pixel, relative, source, homography, tilt_deg=0.0)


def off_paper(probability, scale):
    """(H, W) float32 -> a copy, 0 where sheets or markers lie: what is printed on them is no crack in the road."""
    probability = probability.copy()
    for corners in scale.papers:
        cv2.fillConvexPoly(probability, np.rint(corners).astype(np.int32), 0)
    return probability


def rectify(image, scale):
    """The road from above: -> (image, valid (H', W') bool, mm_per_pixel). Only valid pixels show road: count those.

    image is a photo (H, W, 3) uint8, a probability (H, W) float32 (both bilinear, 0 where not valid) or a mask (H, W)
    uint8 0/1 (smooth, then cut at a half). Without a homography it comes back as it is.
    """
    if scale.homography is None:
        return image, np.ones(image.shape[:2], bool), scale.mm_per_pixel
    corners = project(scale.homography, visible_part(scale.homography, image.shape))
    width, height = np.ceil(corners.max(0)).astype(int) + 1
    valid = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), np.rint(corners).astype(np.int32), 1)
    mask = image.ndim == 2 and image.dtype == np.uint8
    source = image.astype(np.float32) if mask else image
    flat = cv2.warpPerspective(source, scale.homography, (int(width), int(height)), flags=cv2.INTER_LINEAR)
    flat = (flat > 0.5).astype(np.uint8) if mask else flat
    flat[valid == 0] = 0
    return flat, valid > 0, scale.mm_per_pixel


def arguments(argv):
    parser = Parser(
        "quantify/scale.py",
        description="Write a marker to print. Lay it on the road: survey.py --marker-mm finds it in the photo.",
        epilog="example:\n  python quantify/scale.py marker.png",
    )
    parser.add_argument("file", type=Path, metavar="FILE.png", help="where to write it")
    return parser.parse_args(argv)


def main(argv=None):
    """Write a marker to print: black square and the white rim it needs."""
    args = arguments(argv)
    if args.file.suffix != ".png":
        raise BadInput(f"{args.file}: a marker is written as .png; give a name such as marker.png")
    write_image(args.file, draw_marker())
    print(f"{args.file}: print it and measure the side of the black square in millimetres, for --marker-mm")


if __name__ == "__main__":
    execute(main)
