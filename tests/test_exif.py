"""formats/exif.py: what Pillow finds, as the keys that others use; damage never raises."""

import io

import numpy as np
import pytest
from conftest import draw_road
from PIL import Image, TiffImagePlugin

from formats.coco import Photo
from formats.exif import DIAGONAL_35MM, exif, orientation, orientation_of

NOTHING = {"focal_35mm": None, "gps": None, "pixel_width": None, "pixel_height": None}
CAMERA, PLACE = 0x8769, 0x8825
SYDNEY = {1: "S", 2: (33.0, 51.0, 30.0), 3: "E", 4: (151.0, 12.0, 0.0)}  # degrees, minutes, seconds


def block(camera=(), place=(), order="<"):
    """EXIF with these {tag: value} of the camera and the place."""
    made = Image.Exif()
    made.endian = order
    made[271] = "maker"
    made.get_ifd(CAMERA).update(dict(camera))
    made.get_ifd(PLACE).update(dict(place))
    return made


def saved(path, made, kind="JPEG"):
    road = Image.fromarray(draw_road(np.random.default_rng(0)))
    if kind == "TIFF":
        road.save(path, kind, tiffinfo={tag: dict(made.get_ifd(tag)) for tag in (CAMERA, PLACE)})
    else:
        road.save(path, kind, exif=made)
    return path


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_focal_length_place_and_size_are_read_in_both_byte_orders(tmp_path, order, kind):
    made = block({0xA405: 26, 0xA002: 4000, 0xA003: 3000}, SYDNEY, order)
    found = exif(saved(tmp_path / "a", made, kind))
    assert found["focal_35mm"] == 26 and (found["pixel_width"], found["pixel_height"]) == (4000, 3000)
    assert found["gps"] == pytest.approx((-(33 + 51 / 60 + 30 / 3600), 151.2))


def test_north_and_east_are_positive_and_west_is_not(tmp_path):
    north = SYDNEY | {1: "N", 3: "W"}
    assert exif(saved(tmp_path / "a", block(place=north)))["gps"] == pytest.approx((33 + 51.5 / 60, -151.2))


def test_exif_behind_a_large_preview_is_found(tmp_path):
    whole = saved(tmp_path / "a", block({0xA405: 26})).read_bytes()
    preview = b"\xff\xe2\xea\x62" + bytes(60_000)
    (tmp_path / "a").write_bytes(whole[:2] + 5 * preview + whole[2:])
    assert exif(tmp_path / "a")["focal_35mm"] == 26


def test_the_focal_length_follows_from_the_sensors_size_too(tmp_path):
    camera = {0x920A: 4.5, 0xA002: 4000, 0xA003: 3000, 0xA20E: 5000.0, 0xA210: 3}  # a cm: a sensor of 8 by 6 mm
    assert exif(saved(tmp_path / "a", block(camera)))["focal_35mm"] == pytest.approx(4.5 * DIAGONAL_35MM / 10)
    camera[0xA405] = 0  # unknown
    assert exif(saved(tmp_path / "a", block(camera)))["focal_35mm"] == pytest.approx(4.5 * DIAGONAL_35MM / 10)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("order", "<>")
def test_damaged_exif_never_raises_and_never_gives_the_impossible(tmp_path, rng, order):
    file = tmp_path / "a.jpg"
    whole = saved(file, block({0xA405: 26, 0xA002: 4000, 0xA003: 3000}, SYDNEY, order)).read_bytes()
    start = whole.index(b"Exif")
    damaged = [whole[:end] for end in range(0, start + 300, 7)] + [b"", b"\xff\xd8\xff", rng.bytes(500)]
    for _ in range(300):
        changed = bytearray(whole)
        for at in rng.integers(start, start + 250, 3):
            changed[at] = rng.integers(256)
        damaged.append(bytes(changed))
    for data in damaged:
        file.write_bytes(data)
        found = exif(file)
        assert found.keys() == NOTHING.keys()
        assert found["focal_35mm"] is None or 1 <= found["focal_35mm"] <= 2000
        assert found["gps"] is None or (abs(found["gps"][0]) <= 90 and abs(found["gps"][1]) <= 180)
        if data:
            try:
                image = Image.open(io.BytesIO(data))
            except OSError:
                continue
            assert orientation(image) in range(1, 9)


@pytest.mark.parametrize("place", [
    {2: (91.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0), 1: "N", 3: "E"},
    {2: (TiffImagePlugin.IFDRational(1, 0), 0.0, 0.0), 4: (0.0, 0.0, 0.0), 1: "N", 3: "E"},
    {2: (10.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)},
    {2: (10.0, 0.0, 0.0), 1: "N", 3: "E"},
])  # fmt: skip
def test_a_place_that_cannot_be_costs_only_itself(tmp_path, place):
    assert exif(saved(tmp_path / "a.jpg", block({0xA405: 26}, place))) == NOTHING | {"focal_35mm": 26}


@pytest.mark.parametrize("name", ["none.jpg", "", "a\0b"])
def test_a_file_that_is_not_there_has_no_exif(tmp_path, name):
    assert exif(tmp_path / name) == NOTHING


def test_the_orientation_of_xmp_counts_for_nothing(tmp_path):
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation="6"/>'
    whole = saved(tmp_path / "a.jpg", block()).read_bytes()
    segment = b"\xff\xe1" + (len(xmp) + 2).to_bytes(2, "big") + xmp
    with Image.open(io.BytesIO(whole[:2] + segment + whole[2:])) as image:
        assert image.getexif()[274] == 6 and orientation(image) == 1


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_a_turn_that_the_size_of_the_photo_does_not_show_is_known(tmp_path, kind):
    for width, without_trace in ((64, {2, 3, 4}), (48, {2, 3, 4, 5, 6, 7, 8})):
        for way in range(1, 9):
            made = Image.Exif()
            made[0x0112] = way
            Image.new("RGB", (width, 48)).save(tmp_path / "a", kind, exif=made)
            assert orientation_of(tmp_path / "a") == way
            assert Photo("a", tmp_path / "a", 48, width).turned_without_trace() == (way in without_trace)


def test_a_file_that_cannot_be_read_is_not_turned(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no photo")
    for name in ("a.jpg", "missing.jpg"):
        assert orientation_of(tmp_path / name) == 1
