from functools import lru_cache
from itertools import combinations

import cv2
import numpy as np
import pytest

from data.overlap import Features, features, overlap, shrunk


@lru_cache
def stones(seed, height=700, width=1400):
    """(H, W, 3) uint8 road of stones of all sizes and greys with grain on them, sharp to the pixel."""
    rng = np.random.default_rng(seed)
    road = np.full((height, width), 110, np.uint8)
    for _ in range(height * width // 160):
        centre, radius = (int(rng.integers(width)), int(rng.integers(height))), int(np.exp(rng.uniform(0, 2.6)))
        cv2.circle(road, centre, radius, int(rng.integers(50, 190)), -1, cv2.LINE_AA)
    road = np.clip(road + rng.normal(0, 12, road.shape), 0, 255).astype(np.uint8)
    return np.repeat(road[..., None], 3, axis=2)


def seen(road, x, y, turn=0, scale=1.0, size=512):
    """The square view of a road with its middle at x, y."""
    view = cv2.getRotationMatrix2D((x, y), turn, scale)
    view[:, 2] += size / 2 - np.array([x, y])
    return cv2.warpAffine(road, view, (size, size))


def measured(one, other):
    return overlap(features(shrunk(one)), features(shrunk(other)))


@pytest.mark.parametrize("shift", [128, 256, 384])
def test_the_share_of_road_that_two_views_have_in_common_is_measured(shift):
    road = stones(0)
    one, other = seen(road, 350, 350), seen(road, 350 + shift, 350)
    assert measured(one, other) == pytest.approx(1 - shift / 512, abs=0.02)


def test_a_view_that_is_turned_nearer_darker_and_noisy_is_recognised():
    road, rng = stones(0), np.random.default_rng(0)
    other = seen(road, 450, 350, turn=130, scale=1.5) * 0.6 + rng.normal(0, 3, (512, 512, 3))
    views = seen(road, 450, 350), np.clip(other, 0, 255).astype(np.uint8)
    assert measured(*views) > 0.9 and measured(*views[::-1]) > 0.9  # of the smaller view, whichever comes first


def numbers(places, descriptions):
    return Features(np.float32(places), np.float32(descriptions), np.float32([[0, 0], [512, 0], [512, 512], [0, 512]]))


def test_matches_that_shrink_a_photo_to_a_point_are_no_overlap():
    rng = np.random.default_rng(0)
    places, descriptions = rng.uniform(0, 512, (30, 2)), rng.uniform(0, 200, (30, 128))
    assert overlap(numbers(places, descriptions), numbers(places + [256, 0], descriptions)) == pytest.approx(0.5)
    assert overlap(numbers(places, descriptions), numbers(200 + places / 200, descriptions)) == 0


def test_a_feature_goes_with_its_best_match_and_not_with_a_later_one_like_it():
    rng = np.random.default_rng(0)
    places, descriptions = rng.uniform(0, 512, (60, 2)), np.tile(rng.uniform(0, 200, (30, 128)), (2, 1))
    alike = descriptions + np.repeat([[0], [1]], 30, axis=0)
    assert overlap(numbers(places, alike), numbers(places[:30], descriptions[:30])) == pytest.approx(1)


def test_other_roads_and_empty_walls_have_nothing_in_common():
    views = [seen(stones(seed), 350, 350) for seed in (1, 2, 3)] + [np.full((512, 512, 3), 120, np.uint8)]
    assert not any(overlap(*pair) for pair in combinations([features(shrunk(view)) for view in views], 2))


def test_photos_of_any_size_are_compared_at_one_size():
    assert shrunk(np.zeros((300, 100, 3), np.uint8)).shape == (512, 171)
    assert shrunk(np.zeros((1000, 4000, 3), np.uint8)).shape == (128, 512)
    big = cv2.resize(seen(stones(0), 350, 350), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    assert measured(seen(stones(0), 350, 350), big) == pytest.approx(1, abs=0.02)
