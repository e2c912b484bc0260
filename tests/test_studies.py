"""The studies: what is trained, resumed and skipped, and what the tables say about made-up scores."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from command import BadInput, write_csv, write_json
from results import run_studies, tables

PHOTOS = [f"{i}.jpg" for i in range(8)]
PLACES = [*tables.TABLES, "unseen", "remedies", "cost"]  # in results/README.md


@pytest.fixture(autouse=True)
def forget():
    tables.scored.cache_clear()


def run_folder(folder, ious, test="cfd-test", history=(0.1, 0.4, 0.5)):
    """A run folder with the files that a record is made of; the last photo is undamaged."""
    out = folder / test
    out.mkdir(parents=True)
    sheet = {"iou_cracked": sum(ious) / len(ious), "f1_2px": 0.8, "precision": 0.7, "recall": 0.6}
    (out / "scores.json").write_text(json.dumps(sheet))
    photos = [[name, 9, iou] for name, iou in zip(PHOTOS, ious, strict=False)] + [["undamaged.jpg", 0, None]]
    write_csv(out / "photos.csv", ["photo", "true_pixels", "iou"], photos)  # as evaluate.py writes it
    rows = [[epoch, iou, 2.5] for epoch, iou in enumerate(history, 1)]
    write_csv(folder / "history.csv", ["epoch", "iou_cracked", "seconds"], rows)
    (folder / "arguments.json").write_text(
        json.dumps({"epochs": 3, "device": "cpu", "precision": "float32", "torch": "2.14.1+cpu", "data": "/somewhere"})
    )
    return folder


def scored_run(path, ious, tests=("cfd-test",), history=(0.1, 0.4, 0.5)):
    """The record of such a run at path.json."""
    for test in tests:
        folder = run_folder(path.parent / "folders" / path.name, ious, test, history)
    path.parent.mkdir(exist_ok=True)
    write_json(path.with_name(path.name + ".json"), tables.record(folder, tests))


def test_a_difference_is_that_of_the_same_photos_and_seeds(tmp_path):
    for seed, ious in enumerate(([0.2, 0.4, 0.6] * 2, [0.3, 0.5, 0.7] * 2, [0.9] * 6)):
        scored_run(tmp_path / f"base-{seed}", ious)
    for seed, ious in enumerate(([0.3, 0.5, 0.7] * 2, [0.4, 0.6, 0.8] * 2)):
        scored_run(tmp_path / f"better-{seed}", ious)
    gain, (low, high), each = tables.difference(tmp_path, "better", "base", "cfd-test")
    assert gain == pytest.approx(0.1) and low == pytest.approx(0.1) and high == pytest.approx(0.1)
    assert each == pytest.approx([0.1, 0.1])
    assert tables.difference(tmp_path, "base", "base", "cfd-test") is None
    assert tables.difference(tmp_path, "missing", "base", "cfd-test") is None


def test_an_interval_that_holds_nothing_is_called_noise_and_one_that_does_not_is_not(tmp_path):
    scored_run(tmp_path / "base-0", [0.5] * 8)
    scored_run(tmp_path / "mixed-0", [0.4, 0.6] * 4)
    scored_run(tmp_path / "worse-0", [0.4, 0.45] * 4)
    text = tables.study_table(tmp_path, {"base": "base", "mixed": "mixed", "worse": "worse", "not yet": "later"})
    mixed, worse = text.splitlines()[3:]
    assert "within noise" in mixed and "within noise" not in worse and "-0.075" in worse and "one seed" in worse


def test_seeds_that_do_not_agree_are_noise_however_sure_the_photos_are():
    assert "noise" in tables.in_words((0.05, (0.04, 0.06), [0.12, -0.02]))
    assert tables.in_words((0.05, (0.04, 0.06), [0.06, 0.04])) == "+0.050 (+0.040 to +0.060)"


def test_spread_names_the_mean_and_the_extremes_of_the_seeds():
    assert tables.spread([0.5, 0.6, 0.55]) == "0.550 (0.500 to 0.600)"
    assert tables.spread([0.5]) == "0.500" and tables.spread([]) == tables.spread([None]) == "-"


def test_the_share_of_the_training_is_where_validation_first_reached_95_percent(tmp_path):
    scored_run(tmp_path / "base-0", [0.5], history=[0.1, 0.96, 0.5, 1.0])
    assert tables.steps_to_95(tmp_path, "base") == "50%"


def test_only_the_place_of_a_table_is_rewritten():
    page = "before\n<!-- a -->\nold\n<!-- end -->\nbetween\n<!-- b -->\nkept\n<!-- end -->\nafter"
    assert tables.replaced(page, "a", r"new \1") == page.replace("old", "\nnew \\1\n")
    with pytest.raises(BadInput, match="no place for the table c"):
        tables.replaced(page, "c", "")


def test_a_record_holds_what_the_tables_need_and_no_path_of_the_machine(tmp_path):
    content = tables.record(run_folder(tmp_path / "base-0", [0.0, 0.7]), ["cfd-test"])
    assert content["tests"]["cfd-test"]["photos"] == {"0.jpg": 0.0, "1.jpg": 0.7}  # a crack all missed, none undamaged
    assert content["tests"]["cfd-test"]["scores"]["f1_2px"] == 0.8 and content["valid_iou"] == [0.1, 0.4, 0.5]
    assert content["facts"]["seconds"] == 7.5 and content["facts"]["precision"] == "float32"
    assert "somewhere" not in str(content)


def test_the_page_and_the_figures_are_written_from_the_records(tmp_path):
    (tmp_path / "README.md").write_text("\n".join(f"<!-- {name} -->\n\n<!-- end -->" for name in PLACES))
    ious = {"base": [0.5, 0.7], "plain": [0.4, 0.5], "sut": [0.1, 0.2]}
    for run, study in run_studies.RUNS.items():
        scored_run(tmp_path / "kept" / f"{run}-0", ious.get(run, [0.6, 0.6]), study.tests)
    tables.write_tables(tmp_path / "kept", tmp_path / "README.md")
    text = (tmp_path / "README.md").read_text()
    assert "| no augmentation | 1 | 0.450 | -0.150" in text and "| SUT-Crack, 45 | 0.150; 0.800 |" in text
    runs = len(run_studies.RUNS)
    assert f"{runs} runs on cpu in float32, torch 2.14.1, {7.5 * runs / 3600:.1f} hours." in text
    assert (tmp_path / "dropout.png").stat().st_size > 10_000


def test_a_table_stays_as_it_is_until_each_of_its_runs_has_a_record(tmp_path, capsys):
    page = tmp_path / "README.md"
    page.write_text("\n".join(f"<!-- {name} -->\nold\n<!-- end -->" for name in PLACES))
    for run in ("base", "plain", "dropout-0.2", "dropout-0.5", "plain-dropout-0.2"):
        scored_run(tmp_path / "kept" / f"{run}-0", [0.5, 0.7], ("cfd-test", "cfd-train"))
    tables.write_tables(tmp_path / "kept", page)
    assert page.read_text().count("old") == len(PLACES) - 1  # all but the cost
    assert "table dropout is not rewritten: no record of plain-dropout-0.5" in capsys.readouterr().out
    scored_run(tmp_path / "kept" / "plain-dropout-0.5-0", [0.5, 0.7], ("cfd-test", "cfd-train"))
    tables.scored.cache_clear()
    tables.write_tables(tmp_path / "kept", page)
    assert page.read_text().count("old") == len(PLACES) - 2


def test_every_run_of_a_table_is_trained_by_the_script_and_scored_on_what_the_table_shows():
    runs = run_studies.RUNS
    for content in tables.TABLES.values():
        assert all({"cfd-test", "cfd-train"} <= set(runs[name].tests) for name in content.values())
    for name in tables.TRAINED.values():
        assert set(tables.TESTED.values()) <= set(runs[name].tests)
    for name, flips in tables.REMEDIES.values():
        assert {test + flips for test in tables.TESTED.values()} <= set(runs[name].tests)


@pytest.fixture
def calls(monkeypatch):
    """What run_studies calls, instead of calling it."""
    found = []
    monkeypatch.setattr(run_studies, "call", lambda script, *flags: found.append([script, *map(str, flags)]))
    return found


def test_a_finished_run_is_not_repeated_a_stopped_one_goes_on_and_a_new_one_starts(tmp_path, calls):
    files, sets = {"ENCODER": "w.pth", "DRAWN": "d.pt"}, {"cfd": ["--data", "cfd"]}
    run_folder(tmp_path / "base-0", [0.5])
    run_folder(tmp_path / "base-1", [0.5], history=[0.1])
    (tmp_path / "base-1" / "last.pt").touch()
    for seed in range(3):
        run_studies.train("base", seed, tmp_path, files, sets)
    assert calls[0] == ["train.py", "--resume", str(tmp_path / "base-1")]
    assert calls[1][:3] == ["train.py", "--data", "cfd"]
    assert calls[1][-4:] == ["--seed", "2", "--out", str(tmp_path / "base-2")] and len(calls) == 2
    run_studies.train("from-drawn", 1, tmp_path, files, sets)
    assert "d.pt" in calls[2]
    with pytest.raises(BadInput, match="from-drawn: needs a file"):
        run_studies.train("from-drawn", 2, tmp_path, files | {"DRAWN": None}, sets)
    run_studies.score(tmp_path / "base-0", ("cfd-test", "cfd-test-flips"), sets)
    assert len(calls) == 4 and calls[3][-3:] == ["--out", str(tmp_path / "base-0" / "cfd-test-flips"), "--flips"]


def test_a_run_that_starts_from_another_trains_that_one_first_where_it_is_not_here(tmp_path, calls):
    files, sets = {"ENCODER": "w.pth", "DRAWN": "d.pt"}, {"cfd": ["--data", "cfd"]}
    run_studies.train("encoder-tuned", 1, tmp_path, files, sets)
    frozen, tuned = calls
    assert frozen[-1] == str(tmp_path / "encoder-frozen-1") and "w.pth" in frozen
    assert ["--from", str(tmp_path / "encoder-frozen-1")] == tuned[tuned.index("--from") :][:2]


def test_a_run_with_a_record_is_not_made_again_on_another_machine(tmp_path, calls, monkeypatch):
    monkeypatch.setattr(run_studies, "RECORDS", tmp_path)
    monkeypatch.setattr(run_studies, "flags_of_sets", lambda *_, **__: {"cfd": ["--data", "cfd"]})
    monkeypatch.setattr(run_studies, "record", lambda folder, tests: {"folder": folder.name})
    (tmp_path / "once-0.json").touch()
    flags = ["--data", "d", "--runs", str(tmp_path / "runs"), "--only", "once"]
    run_studies.main([*flags, "--seeds", "0", "1"])
    assert [call[-1] for call in calls if call[0] == "train.py"] == [str(tmp_path / "runs" / "once-1")]
    assert json.loads((tmp_path / "once-1.json").read_text()) == {"folder": "once-1"}
    run_studies.main([*flags, "--seeds", "0", "--again"])
    assert [call[-1] for call in calls if call[0] == "train.py"][1:] == [str(tmp_path / "runs" / "once-0")]
    assert (tmp_path / "once-0.json").read_text() == ""  # the record that was there


def test_a_run_is_scored_on_the_sets_that_are_here_and_leaves_no_record_where_one_is_missing(
    tmp_path, calls, monkeypatch, capsys
):
    monkeypatch.setattr(run_studies, "RECORDS", tmp_path)
    (tmp_path / "data" / "cfd").mkdir(parents=True)
    flags = ["--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs"), "--seeds", "0", "--only"]
    run_studies.main([*flags, "base"])
    scored = [Path(call[-1]).name for call in calls if call[0] == "evaluate.py" and call[-1] != "--flips"]
    assert scored == ["cfd-test", "cfd-train"] and not list(tmp_path.glob("*.json"))
    assert "sut-test" in capsys.readouterr().out
    with pytest.raises(BadInput, match="sut"):
        run_studies.main([*flags, "sut"])


def test_the_splits_of_crackforest_in_the_repository_name_all_its_photos_once():
    counts = {"cfd_course": (35, 7, 84), "cfd_70_15_15": (88, 19, 19)}
    names = [f"{number:03}.jpg" for number in [*range(1, 119), *range(201, 209)]]
    for name, sizes in counts.items():
        parts = json.loads((run_studies.COURSE.parent / f"{name}.json").read_text())
        assert tuple(map(len, parts.values())) == sizes and sorted(sum(parts.values(), [])) == names


def test_runs_of_a_study_make_the_same_number_of_steps_to_four_percent():
    def epochs(name):
        flags = run_studies.RUNS[name].flags
        return int(flags[flags.index("--epochs") + 1]) if "--epochs" in flags else run_studies.EPOCHS

    items = {"base": 6 * 35, "plain": 35, "sut": 6 * 45, "both": 3 * 80, "deepcrack": 2 * 255}
    steps = [-(-count // 4) * epochs(name) for name, count in items.items()]
    assert max(abs(count / steps[0] - 1) for count in steps) < 0.04


def test_the_page_has_a_place_for_every_table():
    text = tables.PAGE.read_text(encoding="utf-8")
    for name in PLACES:
        assert tables.replaced(text, name, "new")


def test_the_photos_of_two_merged_sets_keep_their_parts(tmp_path):
    for name in ("a", "b"):
        splits = {"train": ["1.jpg"], "valid": ["2.jpg"], "test": ["3.jpg"], "sha1": {}}
        (tmp_path / f"{name}.json").write_text(json.dumps(splits if name == "a" else splits | {"train": ["4.jpg"]}))
    photos = [SimpleNamespace(name=name) for name in ("a_1.jpg", "a_2.jpg", "a_3.jpg", "b_4.jpg", "b_3.jpg")]
    parts = run_studies.merged_parts({name: tmp_path / f"{name}.json" for name in ("a", "b")}, photos)
    assert {part: [photo.name for photo in found] for part, found in parts.items()} == {
        "train": ["a_1.jpg", "b_4.jpg"], "valid": ["a_2.jpg"], "test": ["a_3.jpg", "b_3.jpg"]
    }  # fmt: skip
