import struct
import zlib

import cv2
import numpy as np
import pytest
from conftest import as_stored, draw_road, painted
from PIL import Image

from command import BadInput
from formats import photo as module
from formats.photo import Preprocess, read_mask, read_photo, write_image


def to_input(preprocess, photo):
    """(H, W, 3) uint8 RGB -> (3, h', w') float32, what the network gets."""
    return preprocess.normalise(preprocess.resize(photo))


def save(path, pixels):
    """Write as OpenCV does (BGR), so that a mistake in `write_image` cannot hide one in `read_photo`."""
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())
    return path


def test_colours_are_read_in_the_order_red_green_blue(tmp_path):
    blue_green_red = np.full((8, 8, 3), (10, 20, 200), np.uint8)
    blue_green_red[4:] = 90
    assert read_photo(save(tmp_path / "a.png", blue_green_red))[0, 0].tolist() == [200, 20, 10]


def test_what_is_written_is_read_back(tmp_path, rng):
    photo = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", photo)
    assert np.array_equal(read_photo(tmp_path / "a.png"), photo)


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 4)], ids=["grey", "alpha"])
def test_grey_alpha_and_16_bit_become_8_bit_rgb(tmp_path, shape):
    values = np.full(shape, 100)
    values[:4] = 200
    for stored in (values.astype(np.uint8), (257 * values).astype(np.uint16)):
        photo = read_photo(save(tmp_path / "a.png", stored))
        assert photo.shape == (8, 6, 3) and photo.dtype == np.uint8
        assert (photo[:4] == 200).all() and (photo[4:] == 100).all()


def test_a_file_that_is_no_whole_photo_is_refused_by_name(tmp_path, rng):
    whole = cv2.imencode(".jpg", rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))[1].tobytes()
    for content in (b"", b"not a photo", whole[: len(whole) // 2]):
        (tmp_path / "bad.jpg").write_bytes(content)
        with pytest.raises(BadInput, match="bad.jpg"):
            read_photo(tmp_path / "bad.jpg")
    with pytest.raises(BadInput, match="missing.jpg"):
        read_photo(tmp_path / "missing.jpg")


@pytest.mark.parametrize(
    "name,remedy",
    [
        ("a.HEIC", "convert HEIC"),
        ("a.zip", "unpack it and give the folder with the photos"),
        ("_annotations.coco.json", "train.py --data"),
        ("a.jpg", "save it as JPEG"),
    ],
)
def test_what_is_no_image_gets_the_remedy_for_its_kind(tmp_path, name, remedy):
    (tmp_path / name).write_bytes(b"PK not an image")
    with pytest.raises(BadInput, match=rf"{name}: not an image that can be read; .*{remedy}"):
        read_photo(tmp_path / name)


def test_a_photo_over_the_limit_is_refused_and_never_decoded(tmp_path, monkeypatch, rng):
    monkeypatch.setattr(module, "MEGAPIXELS", 0.0048)
    for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp"):
        assert read_photo(save(tmp_path / f"fits{suffix}", draw_road(rng, 60, 80))).shape == (60, 80, 3)
        save(tmp_path / f"large{suffix}", np.zeros((60, 81, 3), np.uint8))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp"):
        with pytest.raises(BadInput, match=f"large{suffix}: 81×60 are more than 0.0048 megapixels"):
            read_photo(tmp_path / f"large{suffix}")


def test_a_few_kilobytes_that_claim_60_000_by_60_000_pixels_are_refused(tmp_path):
    header = struct.pack(">II5B", 60_000, 60_000, 1, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + bytes(4) + b"IDAT" + bytes(999))
    with pytest.raises(BadInput, match="bomb.png: 60000×60000 are more than 120 megapixels"):
        read_photo(tmp_path / "bomb.png")


@pytest.mark.parametrize("shape", [(2, 1), (10, 30_000), (30_000, 10), (1, 3)])
def test_photos_of_two_pixels_and_of_one_row_go_there_and_back(tmp_path, shape, rng):
    photo = read_photo(save(tmp_path / "a.png", rng.integers(0, 256, (*shape, 3), dtype=np.uint8)))
    preprocess = Preprocess()
    height, width = to_input(preprocess, photo).shape[1:]
    assert photo.shape == (*shape, 3) and max(height, width) == 512
    assert preprocess.to_photo(np.ones((height, width), np.float32), *shape).shape == shape


@pytest.mark.parametrize("mode,kind", [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("P", "PNG"), ("P", "GIF"), ("1", "PNG"),
                                       ("LA", "PNG"), ("RGBA", "PNG"), ("L", "JPEG"), ("I;16", "TIFF")])  # fmt: skip
def test_a_photo_of_another_colour_mode_looks_the_same(tmp_path, mode, kind):
    upright = Image.fromarray(np.repeat(np.uint8([[[250, 20, 30]], [[20, 160, 230]]]), 8, axis=0).repeat(24, axis=1))
    image = upright.convert("L" if mode == "I;16" else mode)
    stored = Image.fromarray(np.asarray(image).astype(np.uint16) * 257) if mode == "I;16" else image
    stored.save(tmp_path / "a.jpg", kind)  # whatever its name says
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.shape == (16, 24, 3) and photo.dtype == np.uint8
    assert cv2.absdiff(photo, np.asarray(image.convert("RGB"))).max() < 6


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_picture_is_read(tmp_path, kind):
    pictures = [Image.new("RGB", (24, 16), colour) for colour in ((250, 20, 30), (20, 120, 230))]
    pictures[0].paste((20, 20, 30), (0, 8, 24, 16))
    options = {"lossless": True} if kind == "WEBP" else {}
    pictures[0].save(tmp_path / "a.jpg", kind, save_all=True, append_images=pictures[1:], **options)
    try:
        photo = read_photo(tmp_path / "a.jpg")
    except BadInput:
        assert kind == "GIF"  # OpenCV reads it from 4.11 on
    else:
        assert photo.shape == (16, 24, 3) and np.abs(photo[:8].astype(int) - (250, 20, 30)).max() < 6


@pytest.mark.parametrize("shape", [(480, 640), (1400, 1050), (320, 480), (100, 100)])
def test_a_perfect_soft_mask_survives_the_way_there_and_back(shape):
    mask = np.zeros(shape, np.uint8)
    cv2.polylines(
        mask,
        [np.array([[5, 9], [shape[1] // 2, shape[0] // 3], [shape[1] - 7, shape[0] - 20]])],
        True,
        1,
        max(shape) // 80,
    )
    preprocess = Preprocess()
    soft = cv2.resize(mask.astype(np.float32), preprocess.shape(*shape)[::-1], interpolation=cv2.INTER_AREA)
    padded = np.pad(soft, ((0, 64), (0, 64)))
    back = preprocess.to_photo(padded, *shape) >= 0.5
    assert back.shape == shape
    assert (back & (mask > 0)).sum() / (back | (mask > 0)).sum() > 0.98


def test_the_aspect_ratio_is_kept_and_the_input_padded_to_32():
    network_input = to_input(Preprocess(size=512), np.zeros((300, 400, 3), np.uint8))
    assert network_input.shape == (3, 384, 512)
    assert to_input(Preprocess(size=100), np.zeros((400, 300, 3), np.uint8)).shape == (3, 128, 96)


def test_the_input_is_normalised_and_padded_with_the_mean_colour():
    preprocess = Preprocess(size=100)
    photo = np.full((100, 100, 3), np.round(255 * np.array(preprocess.mean)), np.uint8)
    network_input = to_input(preprocess, photo)
    assert np.allclose(network_input, 0, atol=0.02)
    white = to_input(preprocess, np.full((100, 100, 3), 255, np.uint8))
    expected = [(1 - mean) / std for mean, std in zip(preprocess.mean, preprocess.std, strict=True)]
    assert white[:, 50, 50].tolist() == pytest.approx(expected, abs=1e-4)
    assert (white[:, :, 100:] == 0).all() and (white[:, 100:] == 0).all()


def test_photo_and_mask_stay_on_top_of_each_other_when_resized():
    mask = painted((331, 497), np.s_[100:231, 150:260])
    photo, small = Preprocess(size=200).resize(np.repeat(255 * mask[..., None], 3, axis=2), mask)
    assert set(np.unique(small)) == {0, 1}
    for axis in (0, 1):
        centre = [(weights.sum(axis=1 - axis) * np.arange(weights.shape[axis])).sum() / weights.sum()
                  for weights in (photo[..., 0].astype(float), small.astype(float))]  # fmt: skip
        assert centre[0] == pytest.approx(centre[1], abs=0.2)


def test_a_resized_mask_holds_the_nearest_pixel_and_nothing_in_between(rng):
    mask = rng.integers(0, 2, (300, 400), dtype=np.uint8)
    small = Preprocess(size=128).resize(np.zeros((300, 400, 3), np.uint8), mask)[1]
    rows, columns = (((np.arange(n) + 0.5) * 400 / 128).astype(int) for n in small.shape)
    assert np.array_equal(small, mask[np.ix_(rows, columns)])


def test_only_uint8_is_a_photo():
    with pytest.raises(TypeError, match="uint8"):
        to_input(Preprocess(), np.zeros((32, 32, 3), np.float32))


@pytest.mark.parametrize("quality", [40, 70, 95])
def test_an_empty_mask_saved_as_jpeg_stays_empty(tmp_path, quality):
    cv2.imwrite(str(tmp_path / "mask.jpg"), np.zeros((64, 64), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert not read_mask(tmp_path / "mask.jpg").any()


TRUTH = painted((40, 60), np.s_[10:13, 5:50])
OPAQUE = np.full_like(TRUTH, 255)


def with_opacity(colour, opaque):
    """RGBA of TRUTH's shape: one colour, or one for each pixel, and how opaque it is."""
    return np.dstack([np.broadcast_to(np.uint8(colour), (*TRUTH.shape, 3)), opaque])


WHITE = 255 * TRUTH[..., None]
BARELY = {alpha: np.maximum(OPAQUE * (np.arange(40)[:, None] > 1), np.uint8(alpha)) for alpha in (254, 0)}
MASKS = {  # (the mask, as it may be written)
    "black on transparent white": (TRUTH, with_opacity(255 - WHITE, 255 * TRUTH)),
    "black on transparent black": (TRUTH, with_opacity(0, 255 * TRUTH)),
    "white": (TRUTH, with_opacity(255, 255 * TRUTH)),
    "red": (TRUTH, with_opacity((255, 0, 0), 255 * TRUTH)),
    "opaque all over": (TRUTH, with_opacity(WHITE, OPAQUE)),
    "a little transparent, 254": (TRUTH, with_opacity(WHITE, BARELY[254])),
    "a little transparent, 0": (TRUTH, with_opacity(WHITE, BARELY[0])),
    "16 bit, 1": (TRUTH, TRUTH.astype(np.uint16)),
    "16 bit, 255": (TRUTH, np.uint16(255) * TRUTH),
    "16 bit, 65535": (TRUTH, np.uint16(65535) * TRUTH),
    "empty, a little transparent, 254": (0 * TRUTH, with_opacity(0, BARELY[254])),
    "empty, a little transparent, 0": (0 * TRUTH, with_opacity(0, BARELY[0])),
    "empty, transparent black": (0 * TRUTH, with_opacity(0, 0 * TRUTH)),
    "empty, transparent white": (0 * TRUTH, with_opacity(255, 0 * TRUTH)),
}


@pytest.mark.parametrize("truth,pixels", MASKS.values(), ids=MASKS)
def test_a_mask_is_read_whatever_its_depth_and_where_some_of_it_is_transparent(tmp_path, truth, pixels):
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), truth)


def test_of_a_palette_the_transparent_colour_is_the_road(tmp_path):
    index = Image.fromarray(TRUTH, "P")
    index.putpalette([200, 200, 200, 9, 9, 9])
    index.save(tmp_path / "mask.png", transparency=0)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), TRUTH)


NO_MASKS = {  # (pixels as OpenCV writes them, what is said)
    "dark grey": (76 * TRUTH, "brightest value is 76"),
    "dark grey of 16 bit": (np.uint16(1000) * TRUTH, "brightest value is 4"),
    "grey of 16 bit": (np.uint16(30000) * TRUTH, "brightest value is 117"),
    "red": (TRUTH[..., None] * np.uint8([0, 0, 255]), "the crack is in a colour"),
    "floats": (np.full(TRUTH.shape, np.nan, np.float32), "float32"),
    "drawn onto the photo": (np.maximum(draw_road(np.random.default_rng(0), 40, 60), WHITE), "grey"),
}


@pytest.mark.parametrize("pixels,words", NO_MASKS.values(), ids=NO_MASKS)
def test_what_is_not_black_and_white_is_no_mask(tmp_path, pixels, words):
    cv2.imwrite(str(tmp_path / "mask.tif"), pixels)
    with pytest.raises(BadInput, match=f"mask.tif: .*{words}"):
        read_mask(tmp_path / "mask.tif")


def test_a_photo_that_shrinks_is_averaged_over_what_becomes_one_pixel():
    stripes = np.zeros((300, 400, 3), np.uint8)
    stripes[:, ::4] = 255  # one column of four
    assert np.abs(Preprocess(size=100).resize(stripes).astype(int) - 64).max() <= 1


def test_a_photo_that_grows_is_interpolated():
    ramp = np.repeat(np.linspace(0, 255, 20).astype(np.uint8)[None, :, None], 10, 0).repeat(3, 2)
    assert len(np.unique(Preprocess(size=160).resize(ramp))) > 100


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what is damaged
@pytest.mark.parametrize("packing", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_damaged_mask_with_transparency_is_read_or_refused_by_name(tmp_path, packing, rng):
    picture, file = np.zeros((80, 60, 4), np.uint8), tmp_path / "mask.tif"
    picture[30:36, 5:50] = 255
    Image.fromarray(picture).save(file, compression=packing)
    whole = file.read_bytes()
    refused = 0
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(8, len(data), 3):
            data[place] = rng.integers(256)
        file.write_bytes(data)
        try:
            assert read_mask(file).dtype == np.uint8
        except BadInput as error:
            assert str(file) in str(error)
            refused += 1
    assert refused


# ---------------------------------------------------------------------------------------------- which files
def test_a_folder_gives_its_photos_and_neither_hidden_files_nor_side_files_nor_junk_folders(tmp_path):
    for name in ("b.JPG", "a.png", "._b.JPG", ".c.jpg", "b.JPG.supplemental-metadata.json", "b.AAE", "notes.txt"):
        (tmp_path / name).touch()
    for name in (".ipynb_checkpoints", "__MACOSX", "folder.jpg"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "copy.jpg").touch()
    assert module.photos_in(tmp_path) == [tmp_path / "a.png", tmp_path / "b.JPG"]
    assert module.photos_in(tmp_path / ".ipynb_checkpoints") == module.photos_in(tmp_path / "__MACOSX") == []
    assert [path.name for path in module.photos_in(tmp_path / "folder.jpg")] == ["copy.jpg"]


def test_results_of_inference_are_no_photos_but_a_mask_or_an_overlay_alone_may_be(tmp_path):
    for name in ("a.jpg", "a_mask.png", "a_overlay.jpg", "a_figure.png", "b_mask.png", "c_overlay.jpg", "d_figure.png"):
        (tmp_path / name).touch()
    names = [path.name for path in module.photos_in(tmp_path)]
    assert names == ["a.jpg", "b_mask.png", "c_overlay.jpg", "d_figure.png"]
    assert len(module.pictures_in(tmp_path)) == 7


def test_what_a_folder_leaves_out_is_counted_by_kind_and_heic_has_its_remedy(tmp_path):
    for name in ("a.jpg", "b.heic", "c.HEIC", "d.mp4", "a_mask.png", "a_overlay.jpg", "._a.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "more").mkdir()
    words = module.left_out(tmp_path, module.photos_in(tmp_path))
    for part in ("2 .heic files", "1 .mp4 file", "2 pictures of an earlier", "1 folder", module.HEIC):
        assert part in words
    (tmp_path / "more" / "a.jpg").touch()
    assert module.left_out(tmp_path / "more", module.photos_in(tmp_path / "more")) == ""


def test_a_pattern_that_the_shell_did_not_expand_is_expanded_and_an_unmatched_one_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.jpg", "c.png", ".d.jpg", "odd[1].jpg"):
        (tmp_path / name).touch()
    assert [path.name for path in module.expand(["c.png", "?.jpg"])] == ["c.png", "a.jpg", "b.jpg"]
    assert [path.name for path in module.expand([tmp_path / "*.jpg"])] == ["a.jpg", "b.jpg", "odd[1].jpg"]
    assert [str(path) for path in module.expand(["odd[1].jpg", "missing.jpg"])] == ["odd[1].jpg", "missing.jpg"]
    with pytest.raises(BadInput, match="nothing"):
        module.expand(["nothing*.jpg"])


# ------------------------------------------------------------------------------- what a decoded photo must hold
def shades(dtype=np.uint8, low=0, high=255):
    """(40, 64, 3) with all values from low to high."""
    ramp = np.linspace(low, high, 40 * 64 * 3)
    return ramp.reshape(40, 64, 3).astype(dtype)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("suffix", [".tif", ".png"])
@pytest.mark.parametrize("channels", [1, 3])
def test_values_of_fewer_bits_in_a_file_of_16_are_refused_and_never_read_as_black(tmp_path, bits, suffix, channels):
    pixels = shades(np.uint16, 0, 2**bits - 1)[..., :channels]
    file = save(tmp_path / f"a{suffix}", pixels)
    for flags in (cv2.IMREAD_COLOR, cv2.IMREAD_REDUCED_GRAYSCALE_4):  # training, and the comparison of photos
        with pytest.raises(BadInput, match=f"a{suffix}: .*16-bit"):
            read_photo(file, flags)


@pytest.mark.parametrize("low", [-32767, 0])
def test_signed_values_are_refused(tmp_path, low):
    pixels = shades(np.int16, low, 32767)
    with pytest.raises(BadInput, match="grey.tif: .*int16"):
        read_photo(save(tmp_path / "grey.tif", np.ascontiguousarray(pixels[..., 0])))
    with pytest.raises(BadInput, match="colour.tif"):
        read_photo(save(tmp_path / "colour.tif", pixels))


def with_largest_value(path, pixels, largest):
    """A TIFF of 16 bits that states its white in MaxSampleValue."""
    Image.fromarray(pixels).save(path, "TIFF", tiffinfo={281: largest})
    return path


def test_a_tiff_that_states_its_white_is_scaled_by_it(tmp_path):
    pixels = np.linspace(0, 4095, 40 * 64).reshape(40, 64).astype(np.uint16)
    photo = read_photo(with_largest_value(tmp_path / "a.tif", pixels, 4095))
    assert photo.min() == 0 and photo.max() == 255
    np.testing.assert_allclose(photo[..., 0], pixels / 4095 * 255, atol=0.51)
    for lie in (0, 100):  # less than its largest value: not what white is
        with pytest.raises(BadInput, match="a.tif: .*16-bit"):
            read_photo(with_largest_value(tmp_path / "a.tif", pixels, lie))


def test_16_bits_are_rounded_to_the_nearest_of_8(tmp_path, rng):
    pixels = rng.integers(0, 65536, (40, 64, 3), dtype=np.uint16)
    for suffix in (".png", ".tif"):
        photo = read_photo(save(tmp_path / f"a{suffix}", pixels))
        np.testing.assert_array_equal(photo[..., ::-1], np.rint(pixels / 257))


@pytest.mark.parametrize("low,high", [(0, 0), (255, 255), (120, 134), (1, 11)])
def test_a_photo_whose_values_span_almost_nothing_is_refused(tmp_path, low, high):
    pixels = shades(low=low, high=high)
    with pytest.raises(BadInput, match=f"a.png: .*{low} and {high} of 255"):
        read_photo(save(tmp_path / "a.png", pixels))


@pytest.mark.parametrize("step,offset", [(4, 0), (4, 1), (3, 0)])
def test_hot_pixels_in_one_colour_make_no_picture_wherever_they_lie_and_one_more_in_ten_thousand_does(
    tmp_path, step, offset
):
    """Of 160,000 pixels 16 may be hot: all of them, none or a few lie where check_picture looks first."""
    photo = np.full((400, 400, 3), (10, 90, 200), np.uint8)
    photo[offset : 16 * step : step, offset] = 255
    with pytest.raises(BadInput, match="a.png: holds no picture"):
        read_photo(save(tmp_path / "a.png", photo))
    photo[offset + 16 * step, offset] = 255
    read_photo(save(tmp_path / "a.png", photo))


def test_a_photo_in_fog_and_a_dark_one_are_photos(tmp_path, rng):
    for low, high in ((200, 230), (0, 25)):
        pixels = rng.integers(low, high, (60, 80, 3), dtype=np.uint8)
        assert read_photo(save(tmp_path / "a.png", pixels)).shape == (60, 80, 3)


# ------------------------------------------------------------------------------------------- one way to read
def save_turned(path, image, kind, orientation):
    """Write a Pillow image as a camera stores it, with the orientation that turns it upright."""
    note = Image.Exif()
    note[0x0112] = orientation
    options = {"tiffinfo": {0x0112: orientation}} if kind == "TIFF" else {"exif": note}
    as_stored(image, orientation).save(path, kind, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "grey TIFF", "16 bit TIFF", "PNG", "WEBP", "JPEG"])
def test_every_reader_turns_a_photo_of_any_kind_the_same_way(tmp_path, kind, orientation):
    upright = np.zeros((160, 256), np.uint8)
    upright[:64, :64] = 255
    upright[:32, 64:160] = 120
    pixels = {"16 bit TIFF": 257 * upright.astype(np.uint16), "grey TIFF": upright}.get(kind, np.dstack([upright] * 3))
    save_turned(tmp_path / "a", Image.fromarray(pixels), kind.split()[-1], orientation)
    photo = read_photo(tmp_path / "a")
    assert photo.shape == (160, 256, 3) and np.abs(photo[..., 0].astype(int) - upright).mean() < 4
    quarter = read_photo(tmp_path / "a", cv2.IMREAD_REDUCED_GRAYSCALE_4)
    assert quarter.shape == (40, 64) and np.abs(quarter.astype(int) - upright[::4, ::4]).mean() < 8


def test_a_transparent_mask_is_turned_like_a_photo(tmp_path):
    drawn = Image.fromarray(with_opacity(0, 255 * TRUTH))
    for kind in ("PNG", "TIFF"):
        save_turned(tmp_path / "mask", drawn, kind, 6)
        np.testing.assert_array_equal(read_mask(tmp_path / "mask"), TRUTH)


@pytest.fixture(params=[0, 1], ids=["baseline", "progressive"])
def jpeg(request, rng):
    """Bytes of a JPEG with a whole JPEG as its thumbnail."""
    thumbnail = cv2.imencode(".jpg", draw_road(rng, 24, 32))[1].tobytes()
    block = b"Exif\0\0II*\0" + bytes([8, 0, 0, 0] + [0] * 6) + thumbnail
    photo = cv2.imencode(".jpg", draw_road(rng, 200, 300), [cv2.IMWRITE_JPEG_PROGRESSIVE, request.param])[1].tobytes()
    return photo[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + photo[2:]


@pytest.mark.parametrize("more", [bytes(300_000), b"\xff\xd8" * 99, b"SEFT" + bytes(range(256)) * 900, b"\n"])
def test_a_jpeg_is_whole_whatever_follows_its_end(tmp_path, jpeg, more):
    (tmp_path / "a.jpg").write_bytes(jpeg)
    (tmp_path / "b.jpg").write_bytes(jpeg + more)
    assert np.array_equal(read_photo(tmp_path / "a.jpg"), read_photo(tmp_path / "b.jpg"))


@pytest.mark.parametrize("more", [b"", bytes(300_000)], ids=["cut", "cut and filled with zeros"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_jpeg_that_was_cut_is_refused(tmp_path, jpeg, share, more):
    (tmp_path / "a.jpg").write_bytes(jpeg[: int(share * len(jpeg))] + more)
    with pytest.raises(BadInput, match="a.jpg: JPEG ends too early"):
        read_photo(tmp_path / "a.jpg")


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
@pytest.mark.parametrize("name", ["a.jpg", "a.HEIC", "a.png"])
def test_heic_is_named_by_its_content(tmp_path, name, brand):
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(500))
    with pytest.raises(BadInput, match=rf"{name}: .*HEIC.*JPEG"):
        read_photo(tmp_path / name)


# ---------------------------------------------------------------------------------- masks with a third level
def crack_mask(level, width=6, apart=True):
    """(120, 160) mask: one crack in white and one of a further level, which may touch."""
    mask = np.zeros((120, 160), np.uint8)
    cv2.line(mask, (80 if not apart else 90, 60), (150, 70), level, width)
    cv2.line(mask, (10, 50), (80, 60), 255, width)
    return mask


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("level,width", [(64, 2), (64, 6), (127, 2), (127, 20), (128, 6), (200, 5), (200, 20)])
@pytest.mark.parametrize("apart", [True, False])
def test_a_mask_with_a_third_level_is_refused(tmp_path, suffix, level, width, apart):
    cv2.imwrite(str(tmp_path / f"a{suffix}"), crack_mask(level, width, apart))
    with pytest.raises(BadInput, match=f"a{suffix}: .*third level"):
        read_mask(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("level", [30, 235])
def test_a_third_level_near_black_or_white_is_one_where_the_file_is_exact(tmp_path, level):
    cv2.imwrite(str(tmp_path / "a.png"), crack_mask(level))
    with pytest.raises(BadInput, match=f"third level, {level}"):
        read_mask(tmp_path / "a.png")


def test_soft_edges_are_no_third_level(tmp_path, rng):
    sharp = np.zeros((240, 320), np.uint8)
    points = np.stack([np.linspace(5, 310, 12), 120 + rng.normal(0, 40, 12)], 1).astype(np.int32)
    cv2.polylines(sharp, [points], False, 255, 5)
    smooth = np.zeros((240, 320), np.uint8)
    cv2.polylines(smooth, [points], False, 255, 3, cv2.LINE_AA)
    small = cv2.resize(sharp, (160, 120), interpolation=cv2.INTER_AREA)
    straight = np.zeros((60, 80), np.uint8)
    straight[29:32] = (120,), (255,), (120,)  # as a line that lies between the pixels is, made smaller
    soft = {
        "sharp": sharp,
        "all edges of one level": np.kron(straight, np.ones((4, 4), np.uint8)),
        "antialiased": smooth,
        "blurred": cv2.GaussianBlur(sharp, (0, 0), 2),
        "shrunk": small,
        "enlarged": cv2.resize(small, (640, 480), interpolation=cv2.INTER_LINEAR),
        "black": np.zeros_like(sharp),
        "inverted": 255 - sharp,
    }
    for name, mask in soft.items():
        for suffix, options in ((".png", []), (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 60])):
            cv2.imwrite(str(tmp_path / f"{name}{suffix}"), mask, options)
            read = read_mask(tmp_path / f"{name}{suffix}")
            assert np.mean(read != (mask > 127)) < (0.01 if suffix == ".jpg" else 1e-9), name
        decoded = cv2.imread(str(tmp_path / f"{name}.jpg"), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(tmp_path / "again.png"), decoded)  # a PNG made of a JPEG
        assert np.array_equal(read_mask(tmp_path / "again.png"), decoded > 127), name
