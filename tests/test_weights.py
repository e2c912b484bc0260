import json

import numpy as np
import pytest
from conftest import write_export

import evaluate
import inference
import runs
from data.split import PARTS
from data.synthesize import draw_photo
from formats.photo import write_image

SEEDS = range(90000, 90004)  # photos that the weights were not trained on


@pytest.fixture
def no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(evaluate, "RUNS", tmp_path / "runs")
    return tmp_path


def test_the_weights_that_ship_find_cracks_that_they_never_saw():
    model, preprocess, threshold = inference.open_model(runs.SHIPPED, "cpu")
    hits = union = 0
    for seed in SEEDS:
        photo, mask = draw_photo(np.random.default_rng(seed), (480, 640), True)
        found = inference.predict(model, preprocess, photo) >= threshold
        hits, union = hits + (found & (mask > 0)).sum(), union + (found | (mask > 0)).sum()
    assert hits / union > 0.45


def test_the_weights_are_small_and_say_which_photos_they_know():
    assert runs.SHIPPED.stat().st_size < 3e6
    splits = json.loads(runs.SHIPPED.with_name("splits.json").read_text())
    assert splits.keys() >= set(PARTS) and len(splits["train"]) > 300
    assert not any(word in name for part in PARTS for name in splits[part] for word in ("cfd", "deepcrack"))


def test_without_a_run_a_photo_is_segmented_by_the_weights_that_ship(no_run, capsys):
    photo, _ = draw_photo(np.random.default_rng(SEEDS[0]), (480, 640), True)
    write_image(no_run / "road.jpg", photo)
    assert inference.main(["road.jpg"]) == 0
    assert "crack.pt" in capsys.readouterr().out
    assert (no_run / "predictions" / "road_mask.png").is_file()


def test_once_there_is_a_run_it_is_taken(no_run):
    (no_run / "runs" / "mine").mkdir(parents=True)
    (no_run / "runs" / "mine" / "best.pt").touch()
    assert runs.newest_run() == no_run / "runs" / "mine"


def test_the_scores_of_the_weights_that_ship_never_land_beside_them(no_run, monkeypatch):
    data = write_export(no_run / "data", cracked=2, undamaged=1)
    monkeypatch.chdir(runs.SHIPPED.parent.parent)
    before = sorted(runs.SHIPPED.parent.iterdir())
    evaluate.main(["weights/crack.pt", "--data", str(data)])
    assert sorted(runs.SHIPPED.parent.iterdir()) == before
    evaluate.main(["weights/crack.pt", "--data", str(data), "--flips"])
    kept = {part.name for part in (no_run / "runs" / "crack").iterdir()}
    assert kept == {"data-all", "data-all-flips"}  # neither overwrites the other
