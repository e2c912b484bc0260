from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import painted

from augment import SIGMA, UNCHANGED, VERSIONS, apply, augment, caption, draw, matrix, share_lost, write_versions
from command import BadInput
from formats.coco import read_export


def bent_crack(height=120, width=160):
    mask = np.zeros((height, width), np.uint8)
    cv2.polylines(mask, [np.array([[60, 20], [70, 60], [100, 90]])], False, 1, 7)
    return mask


def test_photo_and_mask_move_together(rng):
    mask = bent_crack()
    photo = np.where(mask[..., None] > 0, 30, 220).astype(np.uint8).repeat(3, axis=2)
    for _ in range(20):
        moved, truth = augment(photo, mask, rng)
        dark = cv2.GaussianBlur(moved, (0, 0), 0.8).mean(axis=2) < 0.57 * np.median(moved)
        assert (dark & (truth > 0)).sum() / (dark | (truth > 0)).sum() > 0.85
        assert set(np.unique(truth)) == {0, 1} and moved.dtype == truth.dtype == np.uint8


def test_parameters_fill_their_ranges_and_never_leave_them(rng):
    mask = np.zeros((50, 50), np.uint8)
    drawn = [draw(mask, rng) for _ in range(400)]
    for name, low, high in (
        ("rotation", -30, 30),
        ("scale", 0.8, 1.2),
        ("brightness", -0.2, 0.2),
        ("contrast", -0.2, 0.2),
    ):
        values = [d[name] for d in drawn]
        slack = 0.05 * (high - low)
        assert low <= min(values) < low + slack and high - slack < max(values) <= high


def test_no_draw_loses_more_than_a_fifth_of_the_crack(rng):
    mask = painted((100, 200), np.s_[2:12, :40])
    for _ in range(100):
        assert share_lost(mask, matrix(mask.shape, **draw(mask, rng))) <= 0.2


def test_the_share_lost_is_that_of_the_pixels_that_leave_the_frame():
    mask = painted((10, 10), np.s_[4, :])
    assert share_lost(mask, np.array([[1.0, 0, 3], [0, 1, 0]])) == pytest.approx(0.3)


def test_nothing_is_mirrored(rng):
    for _ in range(50):
        assert np.linalg.det(matrix((50, 80), **draw(np.zeros((50, 80), np.uint8), rng))[:, :2]) > 0


def test_a_positive_angle_turns_the_crack_against_the_clock_and_scale_enlarges_it(rng):
    mask = painted((101, 101), np.s_[49:52, 50:90])
    turned = apply(np.zeros((101, 101, 3), np.uint8), mask, UNCHANGED | {"rotation": 30.0}, rng)[1]
    rows, columns = np.nonzero(turned)
    assert np.degrees(np.arctan2(50 - rows[columns > 70].mean(), columns[columns > 70].mean() - 50)) == pytest.approx(
        30, abs=2
    )
    mask[30:71, 30:71] = 1
    larger = apply(np.zeros((101, 101, 3), np.uint8), mask, UNCHANGED | {"scale": 1.2}, rng)[1]
    assert np.ptp(np.nonzero(larger)[0]) == pytest.approx(1.2 * 41, abs=1.5)


def test_the_middle_stays_in_place_and_a_turned_photo_has_values_between_its_own():
    for size in ((50, 80), (51, 81)):
        middle = (size[1] - 1) / 2, (size[0] - 1) / 2
        assert matrix(size, rotation=17.0, scale=1.2) @ (*middle, 1) == pytest.approx(middle)
    photo = np.zeros((60, 60, 3), np.uint8)
    photo[:, 30:] = 200
    turned = apply(photo, photo[..., 0] // 200, UNCHANGED | {"rotation": 10.0}, np.random.default_rng(0))[0]
    assert len(np.unique(turned)) > 10  # nearest neighbours would be jagged


def test_a_crack_that_every_draw_would_push_out_of_the_frame_stays_where_it_is(rng):
    mask = painted((100, 100), np.s_[0, 0], np.s_[0, -1], np.s_[-1, 0], np.s_[-1, -1])
    drawn = [draw(mask, rng) for _ in range(50)]
    moved = [d for d in drawn if (d["rotation"], d["scale"]) != (0.0, 1.0)]
    assert len(moved) < 50 and all(share_lost(mask, matrix(mask.shape, **d)) <= 0.2 for d in drawn)


def test_light_and_noise_leave_the_mask_alone(rng):
    mask = bent_crack()
    photo = rng.integers(0, 256, (*mask.shape, 3), dtype=np.uint8)
    changed, truth = apply(photo, mask, UNCHANGED | {"brightness": 0.2, "contrast": -0.2}, rng)
    assert np.array_equal(truth, mask) and not np.array_equal(changed, photo)


def test_brightness_contrast_and_noise_are_of_the_size_that_is_asked_for(rng):
    photo = np.where(np.arange(200)[:, None, None] % 2, 120, 80).astype(np.uint8) * np.ones((1, 200, 3), np.uint8)

    def lit(**changes):
        return apply(photo, photo[..., 0], UNCHANGED | changes, rng)[0].astype(float)

    plain = lit(noise=SIGMA)
    assert (plain - photo).std() == pytest.approx(SIGMA, rel=0.03) and SIGMA == 10
    red, green, _ = (plain - photo).reshape(-1, 3).T
    assert abs(np.corrcoef(red, green)[0, 1]) < 0.05  # as in a sensor, each colour has its own
    assert lit(brightness=0.2, noise=SIGMA).mean() == pytest.approx(120, abs=0.3)
    contrasted = lit(contrast=0.2, noise=SIGMA)
    assert contrasted.mean() == pytest.approx(100, abs=0.3)
    assert contrasted[1::2].mean() - contrasted[::2].mean() == pytest.approx(48, abs=0.6)


def test_what_moves_in_from_outside_is_the_mirror_image_in_photo_and_mask():
    mask = painted((60, 60), np.s_[:, 5:13])
    photo = np.where(mask[..., None] > 0, 40, 200).astype(np.uint8).repeat(3, axis=2)
    moved, truth = apply(photo, mask, UNCHANGED | {"scale": 0.5}, np.random.default_rng(0))
    assert len(np.flatnonzero(np.diff(truth[30].astype(int)) == 1)) > 1  # the crack and its mirror image
    assert np.mean((moved.mean(axis=2) < 120) == (truth > 0)) > 0.97


def test_the_generator_alone_decides():
    mask = bent_crack()
    photo = np.full((*mask.shape, 3), 90, np.uint8)
    results = []
    for noise_seed in (1, 2):
        np.random.seed(noise_seed)
        results.append(augment(photo, mask, np.random.default_rng(7)))
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("name", UNCHANGED)
def test_one_that_is_left_out_changes_nothing_and_the_others_are_drawn_as_before(name):
    mask = np.zeros((60, 80), np.uint8)
    whole, part = (draw(mask, np.random.default_rng(3), without) for without in ((), (name,)))
    assert part == whole | {name: UNCHANGED[name]} != whole
    photo, every = np.full((60, 80, 3), 90, np.uint8), tuple(UNCHANGED)
    photo[10:30, 20:25] = 40
    assert np.array_equal(augment(photo, mask, np.random.default_rng(3), every)[0], photo)
    alone = [augment(photo, mask, np.random.default_rng(seed), set(every) - {name})[0] for seed in range(10)]
    assert sum(np.array_equal(changed, photo) for changed in alone) < 5  # a draw may lie too near to the neutral value


def test_written_versions_are_an_export_of_train_versions_and_untouched_others(photos, tmp_path):
    write_versions({"train": photos[:2], "valid": photos[2:3], "test": photos[8:9]}, tmp_path / "out", seed=0)
    written = {photo.name: photo for photo in read_export(tmp_path / "out").photos}
    assert len(written) == 2 * (1 + VERSIONS) + 2
    for part, photo in (("train", photos[0]), ("valid", photos[2]), ("test", photos[8])):
        assert np.array_equal(written[f"{part}/{photo.name}"].mask(), photo.mask())
        assert written[f"{part}/{photo.name}"].sha1() == photo.sha1()
    shapes = [written[f"train/road000_v{i}.jpg"].mask() for i in range(1, VERSIONS + 1)]
    assert all(shape.any() and not np.array_equal(shape, photos[0].mask()) for shape in shapes)


@pytest.mark.parametrize("name", ["road000_v1.jpg", "ROAD000.png"])  # some disks take capital letters for small ones
def test_two_photos_that_would_be_written_under_one_name_are_refused(photos, tmp_path, name):
    other = replace(photos[1], name=name)
    with pytest.raises(BadInput, match=f"rename {name}"):
        write_versions({"train": [photos[0], other]}, tmp_path / "out", seed=0)
    assert not (tmp_path / "out").exists()


def test_no_caption_says_minus_nothing():
    assert "-0" not in caption(rotation=-0.3, scale=1.0, brightness=-0.004, contrast=-0.001, noise=10.0)
    assert caption(rotation=-7.4, scale=1.0, brightness=0, contrast=0).startswith("-7 degrees")
