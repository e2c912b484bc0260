"""Each test is a sentence about scale.py or sheet.py that a mistake would break."""

import json
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import lines_with
from PIL import ExifTags, Image

import survey
from command import BadInput, Parser
from data import asphalt
from formats.exif import DIAGONAL_35MM
from formats.photo import read_photo
from model import CrackNet, save_checkpoint
from quantify.scale import Scale, ScaleOptions, add_scale_flags, find_scale, main, off_paper, rectify, scale_options
from quantify.sheet import PAPERS_MM, draw_marker, find_markers, find_sheets, rectangle

HEIGHT, WIDTH, FOCAL = 900, 1200, 1100  # pixels
FOCAL_35MM = round(FOCAL / np.hypot(WIDTH, HEIGHT) * DIAGONAL_35MM)  # 32; EXIF holds whole numbers
CAMERA_MM = 1100  # from the sheet
ROAD = 3000  # drawn, 1 mm a pixel
A4_MM, LETTER_MM = PAPERS_MM["a4"], PAPERS_MM["letter"]
A4 = ScaleOptions(sheet="a4")
CASES = Path(__file__).resolve().parent.parent.parent / "shared" / "cases" / "scale"


def flags(*words):
    parser = Parser()
    add_scale_flags(parser)
    return scale_options(parser.parse_args(words))


def write_exif(path, photo, focal_35mm=FOCAL_35MM, size=None):
    """JPEG of (H, W, 3) uint8 RGB with a focal length, a size if given, and a place in its EXIF."""
    block = Image.Exif()
    camera = block.get_ifd(ExifTags.IFD.Exif)
    camera[ExifTags.Base.FocalLengthIn35mmFilm] = focal_35mm
    if size:
        camera[ExifTags.Base.ExifImageWidth], camera[ExifTags.Base.ExifImageHeight] = size
    block.get_ifd(ExifTags.IFD.GPSInfo).update({1: "S", 2: (33.0, 51.0, 30.0), 3: "E", 4: (151.0, 12.0, 0.0)})
    Image.fromarray(photo).save(path, "JPEG", quality=95, exif=block)
    return path


@pytest.fixture(scope="module")
def phone(tmp_path_factory):
    """The file of a photo that `photograph` takes: its EXIF has the focal length."""
    return write_exif(tmp_path_factory.mktemp("phone") / "a.jpg", np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def lens(tilt_deg, turn_deg=0.0):
    """(3, 3): mm on the road, from the middle of the sheet, -> pixels of a camera tilted away from straight down."""
    t, a = np.radians((tilt_deg, turn_deg))
    tilt = np.array([(1, 0, 0), (0, np.cos(t), -np.sin(t)), (0, np.sin(t), np.cos(t))])
    turn = np.array([(np.cos(a), -np.sin(a), 0), (np.sin(a), np.cos(a), 0), (0, 0, 1)])
    camera = np.array([(FOCAL, 0, WIDTH / 2 - 0.5), (0, FOCAL, HEIGHT / 2 - 0.5), (0, 0, 1)])
    return camera @ np.c_[(tilt @ turn)[:, :2], (0, 0, CAMERA_MM)]


@lru_cache
def texture():
    return cv2.GaussianBlur(np.random.default_rng(0).normal(0, 25, (ROAD, ROAD)).astype(np.float32), (0, 0), 1)


def lay(road, thing, x_mm, y_mm):
    """Draw in place, about a point that lies so far from the middle: (W, H) mm of white paper, or marker pixels."""
    if isinstance(thing, np.ndarray):
        left, top = ROAD // 2 + x_mm - len(thing) // 2, ROAD // 2 + y_mm - len(thing) // 2
        road[top : top + len(thing), left : left + len(thing)] = thing
        return
    corners = rectangle(*thing) + np.array([x_mm, y_mm]) - 0.5 + ROAD / 2
    corners -= 0.5 * np.sign(rectangle(1, 1))  # fillConvexPoly draws the outline, too
    cv2.fillConvexPoly(road, np.rint((corners + 0.5) * 256).astype(np.int32), 235, cv2.LINE_AA, 8)


def photograph(sheet, tilt_deg, turn_deg=20.0, others=(), brightness=95):
    """Photo (HEIGHT, WIDTH, 3) of rough road with `sheet` in the middle and others, each (thing, x, y) as in lay."""
    road = brightness + texture()
    lay(road, sheet, 0, 0)
    for thing, x_mm, y_mm in others:
        lay(road, thing, x_mm, y_mm)
    to_mm = np.array([(1, 0, 0.5 - ROAD / 2), (0, 1, 0.5 - ROAD / 2), (0, 0, 1)])
    photo = cv2.warpPerspective(road, lens(tilt_deg, turn_deg) @ to_mm, (WIDTH, HEIGHT), borderValue=brightness)
    return np.repeat(np.clip(photo, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def apply(homography, points):
    ahead = np.c_[points, np.ones(len(points))] @ homography.T
    return ahead[:, :2] / ahead[:, 2:]


def length_errors(scale, tilt_deg, turn_deg=20.0):
    """Relative errors of 250 mm lines all about the sheet and all over the middle of the photo."""
    rng = np.random.default_rng(1)
    start, heading = rng.uniform(-200, 200, (100, 2)), rng.uniform(0, 2 * np.pi, 100)
    ends = start, start + 250 * np.stack([np.cos(heading), np.sin(heading)], 1)
    one, other = (apply(scale.homography, apply(lens(tilt_deg, turn_deg), end)) for end in ends)
    return np.hypot(*(other - one).T) * scale.mm_per_pixel / 250 - 1


def rms_error(scale, tilt_deg, turn_deg=20.0):
    return np.sqrt(np.mean(length_errors(scale, tilt_deg, turn_deg) ** 2))


THINGS = [
    (A4_MM, A4),
    (LETTER_MM, ScaleOptions(sheet="letter")),
    (draw_marker(200, 33), ScaleOptions(marker_mm=200)),
]


@pytest.mark.parametrize("tilt_deg", [0, 20, 40])
@pytest.mark.parametrize("thing, options", THINGS, ids=["A4", "letter", "marker"])
def test_a_sheet_or_a_marker_gives_lengths_within_2_percent_at_any_tilt(phone, thing, options, tilt_deg):
    scale = find_scale(photograph(thing, tilt_deg), phone, options)
    assert np.abs(length_errors(scale, tilt_deg)).max() < 0.02
    assert scale.tilt_deg == 0 and scale.note == ""
    assert rms_error(scale, tilt_deg) < scale.relative < 0.06  # what it says of itself is not less than the truth


@pytest.mark.parametrize("turn_deg", [0, 50, 100, 170, 250, 300])
def test_however_the_sheet_lies_the_photos_up_stays_up_and_nothing_is_mirrored(phone, turn_deg):
    scale = find_scale(photograph(A4_MM, 30, turn_deg), phone, A4)
    middle = np.array([(WIDTH / 2, HEIGHT / 2)])
    here, above, right = (apply(scale.homography, middle + step)[0] for step in ((0, 0), (0, -1), (1, 0)))
    assert abs(above[0] - here[0]) < 0.02 < here[1] - above[1]
    assert right[0] > here[0]
    assert np.abs(length_errors(scale, 30, turn_deg)).max() < 0.02


def test_the_uncertainty_grows_with_the_tilt_and_shrinks_with_the_sheet(phone):
    level, steep = (find_scale(photograph(A4_MM, tilt), phone, A4).relative for tilt in (0, 50))
    marker = find_scale(photograph(draw_marker(100, 20), 0), "", ScaleOptions(marker_mm=100)).relative
    assert level < steep and level < marker


# ------------------------------------------------------------------------------------------------ which paper
def check_never_silently_wrong(truth, asked, tilt_deg, turn_deg, path):
    """A sheet of one paper, looked for as another or as itself -> the Scale, or None where it was refused."""
    try:
        scale = find_scale(photograph(PAPERS_MM[truth], tilt_deg, turn_deg), path, ScaleOptions(sheet=asked))
    except BadInput:
        assert truth != asked
        return None
    assert rms_error(scale, tilt_deg, turn_deg) < scale.relative
    assert truth == asked or scale.note
    return scale


@pytest.mark.parametrize("tilt_deg, turn_deg", [(0, 20), (15, 0), (30, 70)])
@pytest.mark.parametrize("asked", ["a4", "letter"])
@pytest.mark.parametrize("truth", ["a4", "letter", "legal"])
def test_without_a_focal_length_another_paper_is_refused_or_noted_and_the_uncertainty_covers_it(
    truth, asked, tilt_deg, turn_deg
):
    check_never_silently_wrong(truth, asked, tilt_deg, turn_deg, "a.jpg")


@pytest.mark.slow
@pytest.mark.parametrize("tilt_deg", [0, 5, 10, 20, 30])
@pytest.mark.parametrize("turn_deg", [0, 20, 45, 70, 90, 135])
@pytest.mark.parametrize("asked", ["a4", "letter"])
@pytest.mark.parametrize("truth", ["a4", "letter", "legal"])
def test_from_any_side_and_at_any_tilt_too(truth, asked, tilt_deg, turn_deg):
    check_never_silently_wrong(truth, asked, tilt_deg, turn_deg, "a.jpg")


def test_two_papers_that_cannot_be_told_apart_are_noted_whichever_is_asked_for():
    for truth, asked, turn_deg in (("a4", "letter", 0), ("letter", "a4", 70), ("letter", "letter", 70)):
        scale = check_never_silently_wrong(truth, asked, 30, turn_deg, "a.jpg")
        assert scale.note and scale.relative > 0.03


PAPERS = [
    ("a4", "letter", "A4"),
    ("letter", "a4", "US Letter"),
    ("legal", "a4", "US Legal"),
    ("legal", "letter", "US Legal"),
]


@pytest.mark.parametrize("tilt_deg", [0, 15, 30])
@pytest.mark.parametrize("truth, asked, name", PAPERS)
def test_with_a_focal_length_another_paper_is_refused_by_its_name(phone, truth, asked, name, tilt_deg):
    with pytest.raises(BadInput, match=name):
        find_scale(photograph(PAPERS_MM[truth], tilt_deg, 70), phone, ScaleOptions(sheet=asked))


@pytest.mark.parametrize("paper", [(210, 210), (297, 100), (1, 1)], ids=str)
@pytest.mark.parametrize("tilt_deg", [0, 20])
def test_what_is_no_sheet_of_paper_is_refused_with_a_remedy(paper, tilt_deg):
    with pytest.raises(BadInput, match=r"a\.jpg: .*--reference"):
        find_scale(photograph(paper, tilt_deg), "a.jpg", A4)


def test_two_white_areas_of_a_sheets_shape_but_not_of_one_size_are_refused(phone):
    photo = photograph(A4_MM, 10, others=[((A4_MM[0] / 2, A4_MM[1] / 2), -100, 250)])
    with pytest.raises(BadInput, match=r"a\.jpg: 2 white areas"):
        find_scale(photo, phone, A4)


def test_two_sheets_of_one_size_agree(phone):
    scale = find_scale(photograph(A4_MM, 20, others=[(A4_MM, -60, 300)]), phone, A4)
    assert np.abs(length_errors(scale, 20)).max() < 0.02


def test_outlines_of_one_sheet_at_many_levels_of_brightness_are_one_sheet():
    assert len(find_sheets(photograph(A4_MM, 20), "a4")) == 1


def test_yellow_paint_of_a4_size_is_no_sheet_and_one_that_leaves_the_photo_is_not_guessed():
    paint = photograph(A4_MM, 20)
    leaving = paint[:, : WIDTH // 2].copy()
    paint[..., 2] = np.minimum(paint[..., 2], 70)
    for photo in (paint, leaving):
        with pytest.raises(BadInput, match="no A4 sheet"):
            find_scale(photo, "a.jpg", A4)


# ------------------------------------------------------------------------------------------------ which marker
MARKER = ScaleOptions(marker_mm=100)


def test_no_marker_is_an_error_and_the_printed_one_is_found(tmp_path):
    with pytest.raises(BadInput, match=r"a\.jpg: no ArUco marker"):
        find_scale(photograph(A4_MM, 0), "a.jpg", MARKER)
    main([str(tmp_path / "marker.png")])
    photo = read_photo(tmp_path / "marker.png")
    found = find_scale(photo, "a.jpg", ScaleOptions(marker_mm=120))
    assert found.mm_per_pixel == pytest.approx(0.1, rel=0.005)
    with pytest.raises(BadInput, match=r"marker\.txt"):
        main(["marker.txt"])


@pytest.mark.parametrize("tilt_deg", [0, 25])
def test_the_printed_marker_counts_and_a_larger_stranger_is_noted(tilt_deg):
    photo = photograph(draw_marker(100, 20), tilt_deg, others=[(draw_marker(260, 50, number=23), -300, 100)])
    scale = find_scale(photo, "a.jpg", MARKER)
    assert rms_error(scale, tilt_deg) < scale.relative < 0.15 and "23" in scale.note


def test_a_single_marker_of_another_id_is_used_but_noted():
    scale = find_scale(photograph(draw_marker(100, 20, number=7), 10), "a.jpg", MARKER)
    assert "7" in scale.note and np.abs(length_errors(scale, 10)).max() < 0.03


@pytest.mark.parametrize("numbers", [(0, 0), (5, 6)])
def test_markers_that_contradict_each_other_are_refused_and_those_that_agree_are_used(numbers):
    one, other = numbers
    agreeing = photograph(draw_marker(100, 20, one), 15, others=[(draw_marker(100, 20, other), 250, 0)])
    assert find_scale(agreeing, "a.jpg", MARKER).mm_per_pixel == pytest.approx(1, rel=0.03)
    contradicting = photograph(draw_marker(100, 20, one), 15, others=[(draw_marker(150, 30, other), 250, 0)])
    with pytest.raises(BadInput, match=r"a\.jpg: 2 ArUco markers"):
        find_scale(contradicting, "a.jpg", MARKER)


@pytest.mark.parametrize("brightness", [60, 95, 130])
@pytest.mark.parametrize("rim", [0, 5, 10, 16])
def test_a_marker_whose_rim_was_cut_off_is_refused_where_its_size_would_be_wrong(rim, brightness):
    for tilt_deg in (0, 30):
        photo = photograph(draw_marker(200, rim), tilt_deg, brightness=brightness)
        try:
            scale = find_scale(photo, "a.jpg", ScaleOptions(marker_mm=200))
        except BadInput as error:
            assert "a.jpg" in str(error)
        else:
            assert rms_error(scale, tilt_deg) < scale.relative


@pytest.mark.parametrize("side, rim", [(200, 33), (60, 10)])
@pytest.mark.parametrize("tilt_deg", [0, 30])
def test_a_marker_as_it_is_printed_has_a_white_rim_also_in_half_shade(tilt_deg, side, rim):
    photo = photograph(draw_marker(side, rim), tilt_deg)
    photo[:, : WIDTH // 2] = photo[:, : WIDTH // 2] * 0.6
    (marker,) = find_markers(photo)
    assert marker.white_rim and marker.number == 0


def test_a_rectified_line_is_as_long_as_on_the_road_in_photo_probability_and_mask():
    scale = find_scale(photograph(A4_MM, 35), "a.jpg", A4)
    ends = apply(lens(35, 20), np.array([(-250, -150), (-250, 150)]))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.line(mask, *np.rint(ends).astype(int).tolist(), 1, 5)
    for image in (mask, mask.astype(np.float32), np.repeat(255 * mask[..., None], 3, 2)):
        flat, valid, mm = rectify(image, scale)
        assert flat.dtype == image.dtype and flat.shape[:2] == valid.shape and mm == scale.mm_per_pixel
        x, y = cv2.minAreaRect(
            np.argwhere(flat.reshape(*valid.shape, -1)[..., 0] > 0.5 * image.max()).astype(np.float32)
        )[1]
        assert (max(x, y) - 5) * mm == pytest.approx(300, rel=0.02)
    flat = rectify(mask, scale)[0]
    assert set(np.unique(flat)) == {0, 1}
    assert flat.sum() == pytest.approx(rectify(mask.astype(np.float32), scale)[0].sum(), rel=0.03)  # not fatter


@pytest.mark.parametrize("tilt_deg", [0, 30, 50, 65])
def test_only_what_the_photo_shows_near_enough_is_valid_and_the_size_is_bounded(tilt_deg):
    scale = find_scale(photograph(A4_MM, tilt_deg), "a.jpg", A4)
    flat, valid, mm = rectify(np.full((HEIGHT, WIDTH), 1, np.uint8), scale)
    assert valid.size < 2.02 * HEIGHT * WIDTH and not flat[~valid].any()
    assert flat[valid].mean() > 0.99 and valid.mean() > 0.3
    whole = apply(np.linalg.inv(lens(tilt_deg, 20)), np.array([(0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT)]))
    area = cv2.contourArea(np.float32(whole))
    shown = valid.sum() * mm**2
    if tilt_deg < 50:  # further up is the horizon
        assert shown == pytest.approx(area, rel=0.03)
    else:
        assert shown < 8e6


def test_a_scale_from_above_changes_no_photo():
    photo, scale = photograph(A4_MM, 10), Scale(0.5, 0.05, "given")
    flat, valid, mm = rectify(photo, scale)
    assert flat is photo and valid.all() and valid.shape == photo.shape[:2] and mm == 0.5


def test_a_reference_line_divides_its_length_and_a_longer_one_is_surer():
    photo = np.zeros((400, 600, 3), np.uint8)
    line = find_scale(photo, "a.jpg", flags("--reference", "10,20,310,320,250"))
    short = find_scale(photo, "a.jpg", flags("--reference", "10,20,13,24,2.5"))
    assert line.mm_per_pixel == pytest.approx(250 / np.hypot(300, 300)) and short.mm_per_pixel == 0.5
    assert 0.01 < line.relative < 0.02 < 0.3 < short.relative
    assert line.homography is None and line.tilt_deg > 0


REFERENCES = "1,2,3,4", "1,2,3,4,x", "5,5,5,5,100", "1,2,3,4,0", "1,2,3,nan,5", "1,2,3,4,inf"
LENGTHS = "--mm-per-pixel", "--marker-mm", "--camera-height-mm"


SENSELESS = [
    *[(["--reference", reference], "--reference") for reference in REFERENCES],
    *[([f"{flag}={value}"], f"{flag}: ") for flag in LENGTHS for value in ("0", "-1", "nan", "inf", "x")],
    (["--find-a4"], "--find-a4"),
    (["--find-sheet"], "--find-sheet"),
    (["--find-sheet", "legal"], "legal"),
    (["--mm-per-pixel", "0.4", "--find-sheet", "a4"], "not allowed with"),
]


@pytest.mark.parametrize("words, says", SENSELESS)
def test_a_senseless_scale_is_refused(words, says):
    with pytest.raises(BadInput, match=says):
        flags(*words)


@pytest.mark.parametrize("words", ["-1,2,3,4,5", "1,2,600,4,5", "1,2,3,400,5"])
def test_a_reference_outside_the_photo_is_refused(words):
    with pytest.raises(BadInput, match=r"a\.jpg: --reference leaves the photo of 600×400"):
        find_scale(np.zeros((400, 600, 3), np.uint8), "a.jpg", flags(f"--reference={words}"))


@pytest.mark.parametrize("value", [0, -2.0, float("nan"), float("inf")])
def test_no_scale_is_made_of_a_senseless_number(value):
    with pytest.raises(BadInput, match="a.jpg: .* mm a pixel"):
        find_scale(np.zeros((40, 60, 3), np.uint8), "a.jpg", ScaleOptions(mm_per_pixel=value))


@pytest.mark.parametrize("metres", [ScaleOptions(marker_mm=0.15), ScaleOptions(camera_height_mm=CAMERA_MM / 1000)])
def test_metres_for_millimetres_are_refused_whatever_they_measure(tmp_path, metres):
    """A reference line, too; the same numbers in millimetres are taken."""
    photo = photograph(draw_marker(150, 25), 0)
    file = write_exif(tmp_path / "b.jpg", photo, 26)
    millimetres = ScaleOptions(**{name: value and 1000 * value for name, value in vars(metres).items()})
    assert 0.1 < find_scale(photo, file, millimetres).mm_per_pixel < 10
    for slip in (metres, ScaleOptions(reference=(0, 0, 300, 400, 0.5))):
        with pytest.raises(BadInput, match=r"b\.jpg: .*millimetres"):
            find_scale(photo, file, slip)


def test_without_a_flag_there_is_no_scale_and_a_given_one_is_taken():
    photo = np.zeros((40, 60, 3), np.uint8)
    assert find_scale(photo, "a.jpg", flags()) is None
    found = find_scale(photo, "a.jpg", flags("--mm-per-pixel", "0.4"))
    assert found.mm_per_pixel == 0.4 and found.homography is None
    assert found.source == "given with --mm-per-pixel, not measured in the photo"


def test_whether_a_scale_was_asked_for_is_known():
    ways = "--mm-per-pixel=0.4", "--reference=1,2,3,4,5", "--marker-mm=9", "--find-sheet=letter", "--camera-height-mm=1"
    assert all(flags(way).given for way in ways) and not flags().given


def test_camera_height_is_a_rough_scale_and_needs_a_focal_length(tmp_path):
    photo, options = np.zeros((3000, 4000, 3), np.uint8), ScaleOptions(camera_height_mm=1500)
    found = find_scale(photo, write_exif(tmp_path / "a.jpg", photo, 26), options)
    # a 36 by 24 mm film 26 mm behind the lens sees 1500 / 26 times its size
    assert found.mm_per_pixel == pytest.approx(1500 / 26 * np.hypot(36, 24) / 5000)
    assert found.relative >= 0.1
    with pytest.raises(BadInput, match=r"none\.jpg"):
        find_scale(photo, tmp_path / "none.jpg", options)


@pytest.mark.parametrize("taken", [(1600, 1200), (800, 601), (1600, 800)])
def test_the_focal_length_of_a_cropped_photo_is_not_used(tmp_path, taken):
    photo = np.zeros((600, 800, 3), np.uint8)
    file = write_exif(tmp_path / "a.jpg", photo, 26, taken)
    with pytest.raises(BadInput, match=rf"a\.jpg: .*cropped.*{taken[0]}×{taken[1]}"):
        find_scale(photo, file, ScaleOptions(camera_height_mm=1500))


@pytest.mark.parametrize("taken", [(800, 600), (600, 800)])  # EXIF has the size before the photo is turned upright
def test_the_focal_length_of_a_whole_photo_is_used_whichever_way_it_is_turned(tmp_path, taken):
    photo = np.zeros((600, 800, 3), np.uint8)
    assert find_scale(photo, write_exif(tmp_path / "a.jpg", photo, 26, taken), ScaleOptions(camera_height_mm=1500))


def test_the_focal_length_of_a_cropped_photo_does_not_decide_which_paper_it_is(tmp_path):
    photo = photograph(LETTER_MM, 30, 70)
    wrong = FOCAL_35MM // 2
    file = write_exif(tmp_path / "a.jpg", photo, wrong, (2 * WIDTH, 2 * HEIGHT))
    scale = find_scale(photo, file, ScaleOptions(sheet="letter"))
    assert np.abs(length_errors(scale, 30, 70)).max() < 0.02 and "cropped" in scale.note


@pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases/scale is not here")
def test_the_shared_cases_give_a_millimetre_a_pixel_or_are_refused():
    for name, options in (("stranger", MARKER), ("whole", ScaleOptions(camera_height_mm=1202))):
        file = CASES / f"{name}.jpg"
        assert find_scale(read_photo(file), file, options).mm_per_pixel == pytest.approx(1, rel=0.01)
    with pytest.raises(BadInput, match="cropped"):
        find_scale(read_photo(CASES / "cropped.jpg"), CASES / "cropped.jpg", ScaleOptions(camera_height_mm=1202))


@pytest.mark.parametrize("tilt_deg", [0, 30])
@pytest.mark.parametrize("kind", ["marker", "sheet"])
def test_what_is_printed_on_the_paper_is_no_crack_and_no_road_is_left_out(phone, kind, tilt_deg):
    """Seen by a network that takes everything dark for crack; the sheet has a black bar printed on it."""
    centres = [(0, 0), (-30, 260)] if kind == "marker" else [(0, 0)]
    if kind == "marker":
        second = [(draw_marker(150, 25, number=7), *centres[1])]  # noted, and not used for the scale
        photo, side = photograph(draw_marker(150, 25), tilt_deg, others=second), (200, 200)
        scale = find_scale(photo, phone, ScaleOptions(marker_mm=150))
    else:
        photo, side = photograph(A4_MM, tilt_deg, others=[(np.zeros((80, 80)), 20, -30)]), A4_MM
        scale = find_scale(photo, phone, ScaleOptions(sheet="a4"))
    dark = (photo.max(axis=2) < 30).astype(np.float32)
    seen = survey.assess(photo, dark, scale, 0.5)
    assert dark.sum() > 1000 and seen.result["row"]["crack_area_px"] == 0 and not seen.mask.any()

    left_out = np.argwhere(off_paper(np.ones_like(dark), scale) == 0)[:, ::-1]
    on_road = apply(np.linalg.inv(lens(tilt_deg, 20)), left_out)  # mm from the middle of the paper
    beyond = [(np.abs(on_road - centre) - np.array(side) / 2).max(axis=1) for centre in centres]
    assert len(left_out) > 1000 and np.min(beyond, axis=0).max() < 2


# ------------------------------------------------------------------------------------------------ drawn photos
SIDE = 1300  # mm of drawn asphalt, 1 mm a pixel


def crack_with_sheet(rng, kind):
    """Drawn asphalt, a crack and a sheet or marker on it, in sun and shade: -> (lit (SIDE, SIDE, 3), crack cover)."""
    scene, middle = asphalt.road(rng, (SIDE, SIDE), 1.3), np.full(2, SIDE / 2)
    t = np.linspace(-1, 1, 200)
    path = middle + np.stack([-330 + 40 * np.sin(3 * t), 300 * t], 1)
    crack = asphalt.stroke(scene.shape, path, rng.uniform(8, 25))
    scene.colour *= (1 - 0.85 * crack)[..., None]
    a = rng.uniform(0, np.pi)
    turn = np.array([(np.cos(a), np.sin(a)), (-np.sin(a), np.cos(a))])
    size, white = (A4_MM, np.ones((10, 10))) if kind == "A4" else ((160 * 4 / 3,) * 2, draw_marker(600, 100) / 255)
    pixels = np.float32([(0, 0), (1, 0), (1, 1), (0, 1)]) * len(white) - 0.5
    lay = cv2.getPerspectiveTransform(pixels, (rectangle(*size) @ turn + middle + 60).astype(np.float32))
    paper = asphalt.polygon(scene.shape, rectangle(*size) @ turn + middle + 60)
    printed = cv2.warpPerspective(white.astype(np.float32), lay, scene.shape, borderMode=cv2.BORDER_REPLICATE)
    scene.colour += paper[..., None] * (0.04 + 0.76 * printed[..., None] - scene.colour)
    scene.height *= 1 - paper
    return scene.colour * asphalt.light(rng, scene), crack


def true_length_and_width(crack):
    """Cover of one crack with round ends -> metres from tip to tip, mm."""
    t = np.linspace(-1, 1, 200)
    area, path = crack.sum(), np.hypot(np.diff(40 * np.sin(3 * t)), np.diff(300 * t)).sum()
    width = (np.sqrt(path**2 + np.pi * area) - path) / (np.pi / 2)
    return (path + width) / 1000, width


def surveyed(tmp_path, monkeypatch, *scale_flags, seen=0.0):
    """The row that a survey writes of road.jpg, with a network that sees this probability."""
    save_checkpoint(tmp_path / "best.pt", CrackNet(4, (1, 1, 1)), {"size": 64}, 0.5)
    monkeypatch.setattr(survey, "predict", lambda *_: np.broadcast_to(np.float32(seen), (HEIGHT, WIDTH)))
    words = [str(tmp_path / "road.jpg"), "--checkpoint", str(tmp_path / "best.pt"), "--out", str(tmp_path / "out")]
    assert survey.main([*words, *scale_flags]) == 0
    return json.loads((tmp_path / "out" / "road_cracks.json").read_text())["results"][0]["row"]


def measured_from_photo(tmp_path, monkeypatch, seed, kind, tilt_deg):
    """A drawn photo through the whole command, with a network that sees the crack rightly -> (row, length, width)."""
    rng = np.random.default_rng(seed)
    lit, crack = crack_with_sheet(rng, kind)
    to_mm = np.array([(1, 0, 0.5 - SIDE / 2), (0, 1, 0.5 - SIDE / 2), (0, 0, 1)])
    view = lens(tilt_deg) @ to_mm
    photo = cv2.warpPerspective(lit, view, (WIDTH, HEIGHT), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
    seen = cv2.warpPerspective(crack, view, (WIDTH, HEIGHT))
    write_exif(tmp_path / "road.jpg", asphalt.photograph(rng, photo, 1.0))
    flag = ["--find-sheet", "a4"] if kind == "A4" else ["--marker-mm", "160"]
    return surveyed(tmp_path, monkeypatch, *flag, seen=seen), *true_length_and_width(crack)


@pytest.mark.parametrize(
    "words, source, mm",
    [
        (["--marker-mm", "200"], "ArUco marker", 1.0),
        (["--camera-height-mm", "1500"], "rough", 1500 / 26 * np.hypot(36, 24) / np.hypot(WIDTH, HEIGHT)),
    ],
)
def test_the_command_takes_the_scale_from_a_marker_or_the_cameras_height(tmp_path, monkeypatch, words, source, mm):
    write_exif(tmp_path / "road.jpg", photograph(draw_marker(200, 33), 0), 26)
    row = surveyed(tmp_path, monkeypatch, *words)
    assert source in row["scale_source"] and row["mm_per_pixel"] == pytest.approx(mm, rel=0.02)


def test_where_a_photo_was_taken_stands_in_the_row_and_can_be_left_out(tmp_path, monkeypatch):
    write_exif(tmp_path / "road.jpg", photograph(A4_MM, 0))
    for words, place in (([], (-(33 + 51 / 60 + 30 / 3600), 151.2)), (["--no-places"], (None, None))):
        row = surveyed(tmp_path, monkeypatch, *words)
        assert (row["latitude"], row["longitude"]) == pytest.approx(place)


def test_what_speaks_against_a_scale_is_on_the_screen_also_for_a_folder(tmp_path, monkeypatch, capsys):
    write_exif(tmp_path / "road.jpg", photograph(draw_marker(200, 33, 7), 0))  # a marker, but not the printed one
    monkeypatch.setattr(survey, "FEW", 0)  # as for a folder of many photos, which are not reported one by one
    surveyed(tmp_path, monkeypatch, "--marker-mm", "100")
    lines = lines_with(capsys.readouterr().out, "WARNING")
    assert any("scale" in line and "7" in line for line in lines)


def check_within_uncertainty(row, length, width):
    assert abs(row["length_m"] - length) <= row["length_plus_minus_m"] < 0.06 * length
    assert abs(row["width_median_mm"] - width) <= row["width_median_plus_minus_mm"] < 2


def test_a_crack_beside_a_sheet_on_asphalt_in_shade_is_measured_within_its_uncertainty(tmp_path, monkeypatch):
    check_within_uncertainty(*measured_from_photo(tmp_path, monkeypatch, 1, "A4", 30))


@pytest.mark.slow
@pytest.mark.parametrize("tilt_deg", [0, 20, 40])
@pytest.mark.parametrize("kind", ["A4", "ArUco"])
@pytest.mark.parametrize("seed", range(4))
def test_at_any_tilt_and_light_too(tmp_path, monkeypatch, seed, kind, tilt_deg):
    check_within_uncertainty(*measured_from_photo(tmp_path, monkeypatch, seed, kind, tilt_deg))
