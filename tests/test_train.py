import json
import math
import re
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch
from conftest import edit_json, write_export

import model as networks
import train
from augment import UNCHANGED, augment
from command import HALF_WRITTEN, BadInput
from data.split import split, trained_on, write_splits
from dataset import CrackDataset, loader
from formats.coco import read_export
from formats.photo import Preprocess
from inference import open_model
from metrics import THRESHOLDS, best_threshold, summary
from model import CrackNet, TransferNet, read_checkpoint, save_checkpoint
from runs import (
    FEW_CRACKED,
    IOUS,
    LOSSES,
    NOTHING_LEARNT,
    Run,
    conclusion,
    duration,
    in_words,
    introduction,
    merit,
    training_curves,
)
from train import (
    FEWEST_STEPS,
    MOST_STEPS,
    Settings,
    arguments,
    dice_bce,
    learning_rate_factor,
    loaders,
    main,
    number_of_epochs,
    optimisation,
    settings_of,
    threshold_counts,
    train_one_epoch,
    train_step,
    validate,
)

CPU = torch.device("cpu")
RATE = Settings(lr=0.003)
TINY = ["--size", "64", "--versions", "1", "--batch-size", "4", "--workers", "0", "--device", "cpu", "--lr", "0.01"]


def nothing():
    """What a training that is not saved does after a step."""


def test_the_loss_is_the_one_worked_out_by_hand():
    logits = torch.tensor([0.0, math.log(3)]).reshape(1, 1, 1, 2)  # probabilities 0.5 and 0.75
    mask = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    dice = 1 - (2 * 0.75 + 1) / (1.25 + 1 + 1)
    bce = -(math.log(0.5) + math.log(0.75)) / 2
    assert dice_bce(logits, mask).item() == pytest.approx(dice + bce)
    assert dice_bce(logits, mask, dice_weight=3, bce_weight=0).item() == pytest.approx(3 * dice)


def test_dice_is_taken_over_the_batch_so_that_an_undamaged_photo_changes_little():
    mask = torch.zeros(2, 1, 8, 8)
    mask[1, 0, 3] = 1
    logits = 8 * (2 * mask - 1)
    assert dice_bce(logits, mask, 1, 0) < 0.01
    assert dice_bce(logits[:1], mask[:1], 1, 0) < 0.05  # left empty and undamaged: right
    both = torch.stack([logits[0], -logits[1]])  # the crack missed, everything else called crack
    assert dice_bce(both, mask, 1, 0) > 0.9


def test_a_perfect_answer_costs_less_than_any_other():
    mask = (torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.9).float()
    perfect = dice_bce(20 * (2 * mask - 1), mask)
    assert perfect < 1e-3 < dice_bce(torch.full_like(mask, -20), mask) and perfect < dice_bce(20 * (1 - 2 * mask), mask)


def test_training_learns_in_training_mode_although_validation_leaves_it(export, tmp_path, monkeypatch, capsys):
    modes = []

    def noted(state, *rest):
        modes.append(state.model.training)
        return train_step(state, *rest)

    monkeypatch.setattr(train, "train_step", noted)
    assert main(["--data", str(export), "--epochs", "12", "--out", str(tmp_path / "run"), *TINY]) == 0
    history = read_checkpoint(tmp_path / "run" / "last.pt")["training"]["history"]
    assert len(history) == 12 and history[-1]["train_loss"] < 0.6 * history[0]["train_loss"]
    assert max(row["iou_at_threshold"] for row in history) > 0.3 and len(modes) >= 12 and all(modes)
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {"best.pt", "last.pt", "history.csv", "curves.png", "splits.json", "arguments.json"}
    assert "best epoch" in capsys.readouterr().out


def history(folder):
    rows = read_checkpoint(folder / "last.pt")["training"]["history"]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_the_same_seed_gives_the_same_run_with_any_number_of_workers_and_another_seed_another(export, tmp_path):
    flags = ["--data", str(export), "--epochs", "2", "--dropout", "0.2", *TINY]
    for name, seed, workers in (("a", "3", "0"), ("b", "3", "2"), ("c", "3", "4"), ("d", "4", "0")):
        main([*flags, "--out", str(tmp_path / name), "--seed", seed, "--workers", workers])
    assert history(tmp_path / "a") == history(tmp_path / "b") == history(tmp_path / "c") != history(tmp_path / "d")


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Run folder of a network unlike the default one, trained on drawn photos of 64 pixels."""
    folder = tmp_path_factory.mktemp("start")
    data = write_export(folder / "roads", cracked=6, undamaged=2)
    main(["--data", str(data), "--epochs", "1", "--out", str(folder / "run"), *TINY])
    saved = read_checkpoint(folder / "run" / "best.pt")
    torch.manual_seed(0)
    small = CrackNet(width=8)
    save_checkpoint(folder / "run" / "best.pt", small, saved["preprocess"] | {"mean": (0.4, 0.4, 0.4)}, 0.3)
    return folder / "run"


def test_fine_tuning_starts_from_the_network_the_weights_and_the_preprocessing(start, export, tmp_path, capsys):
    flags = ["--data", str(export), "--epochs", "1", *TINY[2:], "--from"]
    main([*flags, str(start), "--lr", "1e-9", "--out", str(tmp_path / "run")])
    before, after = read_checkpoint(start / "best.pt"), read_checkpoint(tmp_path / "run" / "last.pt")
    assert after["model"] == before["model"] and after["preprocess"] == before["preprocess"]
    learnt = {name: tensor for name, tensor in after["weights"].items() if not re.search("running|batches", name)}
    assert all(torch.allclose(before["weights"][name], tensor, atol=1e-6) for name, tensor in learnt.items())
    settings = after["training"]["settings"]
    assert settings["start"] == str(start) and settings["size"] == 64
    assert str(start) in capsys.readouterr().out
    main([*flags, str(start / "best.pt"), "--size", "96", "--dropout", "0.1", "--out", str(tmp_path / "other")])
    after = read_checkpoint(tmp_path / "other" / "best.pt")
    assert after["preprocess"] == before["preprocess"] | {"size": 96}
    assert after["model"] == before["model"] | {"dropout": 0.1}


def test_a_fine_tuned_run_goes_on_without_the_checkpoint_it_came_from(start, export, tmp_path):
    copy = tmp_path / "copy.pt"
    copy.write_bytes((start / "best.pt").read_bytes())
    main(["--data", str(export), "--epochs", "1", *TINY[2:], "--from", str(copy), "--out", str(tmp_path / "run")])
    copy.unlink()
    main(["--resume", str(tmp_path / "run")])


def test_fine_tuning_warns_when_it_is_scored_on_photos_that_trained_its_start(start, export, tmp_path, capsys):
    flags = [*TINY, "--epochs", "1", "--from", str(start)]
    main([*flags, "--data", str(start.parent / "roads"), "--seed", "5", "--out", str(tmp_path / "a")])
    assert f"WARNING: {start}" in capsys.readouterr().out
    main([*flags, "--data", str(start.parent / "roads"), "--out", str(tmp_path / "b")])  # the same split
    assert f"WARNING: {start}" not in capsys.readouterr().out


def test_training_tells_how_long_it_will_take_after_its_first_steps_and_after_every_epoch(
    export, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(train, "STEPS_BEFORE_ESTIMATE", 2)
    monkeypatch.setattr(train.runs, "duration", lambda seconds: f"<{seconds:g}>")
    main(["--data", str(export), "--epochs", "2", "--out", str(tmp_path / "run"), *TINY])
    told = [float(seconds) for seconds in re.findall("about <(.*?)>", capsys.readouterr().out)]
    first, _ = read_checkpoint(tmp_path / "run" / "last.pt")["training"]["history"]
    assert len(told) == 2 and told[0] > 0 and told[1] == pytest.approx(first["seconds"], rel=1e-4)


@pytest.mark.parametrize("seconds, words", [(12.4, "12 s"), (700, "12 min"), (8000, "2 h 13 min")])
def test_a_duration_is_said_in_its_own_unit(seconds, words):
    assert duration(seconds) == words


def test_few_cracked_photos_are_said_to_be_few_in_train_and_in_valid(photos):
    cracked, undamaged = ([photo for photo in photos if photo.cracked == kind] for kind in (True, False))
    settings = Settings(data="roads", size=64)

    def notes(train, valid):
        parts = {"train": train * cracked[:1] + undamaged, "valid": valid * cracked[:1], "test": []}
        said = introduction(Run("run"), parts, CrackNet(4), settings, CPU)
        return [line for line in said.splitlines() if line.startswith("note")]

    train, valid = FEW_CRACKED["train"], FEW_CRACKED["valid"]
    assert not notes(train, valid)
    (note,) = notes(train, valid - 1)
    assert f"{valid - 1} cracked valid" in note
    (note,) = notes(train - 1, valid)
    assert f"{train - 1} cracked train" in note


def test_the_best_epoch_is_said_to_be_the_best_by_what_chose_it():
    for iou, by in ((0.5, "IoU of the crack"), (math.nan, "loss")):
        rows = [{"epoch": epoch, "iou_at_threshold": iou, "valid_loss": 2.0 - epoch} for epoch in (1, 2)]
        said = conclusion(Run("runs/mine"), rows, 4, "mine").splitlines()[0]
        assert f"best epoch: {rows.index(max(rows, key=merit)) + 1}" in said
        assert [words for words in ("IoU of the crack", "loss") if words in said] == [by]


def test_a_split_without_validation_is_refused_with_the_name_of_what_decided_it(export, tmp_path):
    names = [photo.name for photo in read_export(export).photos]
    (tmp_path / "mine.json").write_text(json.dumps({"train": names, "valid": [], "test": []}))
    with pytest.raises(BadInput, match="mine.json: .*valid"):
        main(["--data", str(export), "--splits", str(tmp_path / "mine.json"), "--out", str(tmp_path / "run"), *TINY])
    two = write_export(tmp_path / "two", cracked=2, undamaged=0)
    with pytest.raises(BadInput, match="two: .*valid"):
        main(["--data", str(two), "--out", str(tmp_path / "run"), *TINY])


def test_a_training_ends_with_the_commands_that_score_and_use_it_or_says_that_it_learnt_nothing():
    failed, learnt = ([{"epoch": 1, "iou_at_threshold": iou}] for iou in (NOTHING_LEARNT - 0.01, NOTHING_LEARNT))
    said = conclusion(Run("runs/mine"), failed, 6, "mine")
    assert "WARNING" in said and "dataset.py mine" in said
    assert conclusion(Run("runs/mine"), learnt, 6, "mine").splitlines()[1:] == [
        "next: python evaluate.py runs/mine",
        "use: python inference.py PHOTO --checkpoint runs/mine",
    ]


@pytest.fixture
def finished(start, tmp_path):
    """A copy of that run folder, to be changed."""
    return shutil.copytree(start, tmp_path / "finished")


def test_a_finished_run_named_by_folder_or_file_is_said_to_be_finished_and_left_as_it_is(finished, monkeypatch, capsys):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    monkeypatch.setattr(train, "train_one_epoch", lambda *_: pytest.fail("trained"))
    for named in (finished, finished / "last.pt", finished / "best.pt"):
        main(["--resume", str(named), "--device", "cpu"])
        said = capsys.readouterr().out
        assert f"{finished}: already finished" in said and f"--from {finished} --epochs" in said
        assert "continues" not in said and "Ctrl-C" not in said
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


def test_a_finished_run_that_was_killed_before_its_last_row_was_written_gets_it_when_resumed(finished):
    rows = finished / "history.csv"
    whole = rows.read_bytes()
    rows.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    main(["--resume", str(finished)])
    assert rows.read_bytes() == whole


@pytest.mark.parametrize(
    "photos, steps", [(1, 100), (3, 300), (12, FEWEST_STEPS), (35, 1050), (42, 1260), (255, 7650), (5000, MOST_STEPS)]
)
@pytest.mark.parametrize("versions, batch_size", [(5, 4), (0, 4), (5, 16)])
def test_the_length_of_a_training_is_steps_for_each_photo_whatever_an_epoch_is(photos, steps, versions, batch_size):
    batches = math.ceil(photos * (1 + versions) / batch_size)
    epochs, why = number_of_epochs(None, photos, batches)
    assert abs(epochs * batches - steps) <= max(batches / 2, batches - steps) and f"{epochs * batches:,} steps" in why
    assert number_of_epochs(7, photos, batches)[0] == 7


def test_training_chooses_its_length_and_keeps_it_when_it_is_resumed(export, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train, "FEWEST_STEPS", 9)
    monkeypatch.setattr(train, "STEPS_A_PHOTO", 0)
    main(["--data", str(export), "--out", str(tmp_path / "run"), *TINY])  # 6 photos, 12 items: 3 steps an epoch
    assert "9 steps in 3 epochs" in capsys.readouterr().out
    saved = read_checkpoint(tmp_path / "run" / "last.pt")["training"]
    assert len(saved["history"]) == saved["settings"]["epochs"] == 3
    assert json.loads((tmp_path / "run" / "arguments.json").read_text())["epochs"] == 3
    monkeypatch.setattr(train, "FEWEST_STEPS", 30)
    main(["--resume", str(tmp_path / "run")])
    assert read_checkpoint(tmp_path / "run" / "last.pt")["training"]["settings"]["epochs"] == 3


REFUSED = [
    (["--from", "export/road000.jpg"], "road000.jpg"),
    (["--from", "nowhere"], "nowhere"),
    (["--from", "a", "--resume", "b"], "--from"),
    (["--resume", "nowhere"], "--resume nowhere: no such folder"),
    (["--resume", "empty"], "--resume empty: no last.pt"),
    (["--resume", "empty/best.pt"], "--resume empty/best.pt: no such folder"),
    (["--out", "taken"], "taken: holds a run already"),
    (["--out", "weights"], "weights: holds other weights"),
    (["--out", "export"], "--out export"),
    (["--lr", "0"], "--lr"),
    (["--without", "flip"], "--without"),
    (["my-export.zip"], "unrecognized arguments: my-export.zip; an export goes after --data"),
    (["--datx"], "unrecognized arguments: --dat.; python"),
]


@pytest.mark.parametrize("flags, says", REFUSED)
def test_what_cannot_be_done_is_refused_before_anything_is_written(export, tmp_path, monkeypatch, flags, says):
    monkeypatch.chdir(tmp_path)
    for file in ("taken/last.pt", "weights/crack.pt", "empty/notes.txt"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInput, match=says):
        main(["--data", "export", "--epochs", "1", *TINY, *flags])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_of_the_cpu_goes_on_with_loss_scaling_as_a_gpu_needs_it():
    state = optimisation(CrackNet(width=8), RATE, 10, CPU)
    again = optimisation(CrackNet(width=8), RATE, 10, CPU)
    again.scaler = torch.amp.GradScaler("cpu", enabled=True)
    again.load_state_dict(state.state_dict())
    assert again.scaler.is_enabled()


def test_a_loss_that_is_not_finite_stops_with_the_names_of_the_photos(export):
    photos = read_export(export).photos[:2]
    batches = loader(CrackDataset(photos, Preprocess(size=64)), 2, seed=0)
    model = CrackNet()
    torch.nn.init.constant_(list(model.parameters())[-1], math.nan)
    with pytest.raises(FloatingPointError, match="road000.jpg, road001.jpg.*--lr"):
        train_one_epoch(optimisation(model, RATE, 1, CPU), batches, dice_bce, CPU, nothing)


def test_only_train_photos_are_augmented(export):
    photos = read_export(export).photos
    train_batches, valid_batches = loaders({"train": photos[:6], "valid": photos[6:]}, Preprocess(64), Settings())
    assert train_batches.dataset.augment.func is augment and train_batches.dataset.versions == 6
    assert valid_batches.dataset.augment is None and len(valid_batches.dataset) == 4


def test_weight_decay_reaches_the_optimizer_and_the_base_model_has_neither_that_nor_dropout():
    for settings, decay in ((RATE, 0), (Settings(lr=0.003, weight_decay=0.05), 0.05)):
        state = optimisation(CrackNet(), settings, 10, CPU)
        assert all(group["weight_decay"] == decay for group in state.optimizer.param_groups)
    assert not any(isinstance(module, torch.nn.Dropout2d) for module in state.model.modules())


def test_the_average_of_the_weights_is_validated_and_saved_in_their_place(export, tmp_path):
    main(["--data", str(export), "--epochs", "1", "--ema", "0.5", "--out", str(tmp_path / "run"), *TINY])
    best, last = read_checkpoint(tmp_path / "run" / "best.pt"), read_checkpoint(tmp_path / "run" / "last.pt")
    average = last["training"]["average"]
    assert average["n_averaged"] == last["training"]["schedule"]["last_epoch"] > 1  # after every step
    assert all(torch.equal(tensor, average[f"module.{name}"]) for name, tensor in best["weights"].items())
    moving = [name for name in best["weights"] if not torch.equal(best["weights"][name], last["weights"][name])]
    assert {"stem.0.0.weight", "stem.0.1.running_mean"} <= set(moving)
    model, preprocess, _ = open_model(tmp_path / "run", "cpu")
    parts = split(read_export(export), 0, tmp_path / "run" / "splits.json")
    valid = loaders(parts, preprocess, Settings())[1]
    row = validate(model, valid, preprocess, dice_bce, CPU)
    assert row.items() <= last["training"]["history"][0].items() and row["threshold"] == best["threshold"]


def test_an_epoch_tells_the_iou_at_a_half_and_at_the_threshold_that_is_saved(export, monkeypatch):
    torch.manual_seed(0)
    photos, model, preprocess = read_export(export).photos, CrackNet(4), Preprocess(64)
    counts = threshold_counts(model, preprocess, photos)
    found = [summary(counts[:, i])["recall"] for i in range(len(THRESHOLDS))]
    chosen = next(value for value, recall in zip(THRESHOLDS.tolist(), found, strict=True) if 0 < recall < 1)
    monkeypatch.setattr(train.metrics, "best_threshold", lambda counts: chosen)
    valid = loaders({"train": photos, "valid": photos}, preprocess, Settings())[1]
    row = validate(model, valid, preprocess, dice_bce, CPU)
    at = {value: summary(counts[:, THRESHOLDS.tolist().index(value)])["iou_cracked"] for value in (0.5, chosen)}
    assert (row["iou_cracked"], row["iou_at_threshold"]) == (at[0.5], at[chosen]) and at[0.5] != at[chosen]


def test_changes_of_the_augmentation_can_be_left_out_or_drawn_once(export):
    parts = {"train": read_export(export).photos[:2], "valid": []}

    def items(*flags):
        _, settings = settings_of(arguments(list(flags)))
        return loaders(parts, Preprocess(64), settings)[0].dataset

    bare = items("--without", *UNCHANGED, "--versions", "1")
    assert torch.equal(bare[0][0], bare[1][0])
    once, anew = items("--once"), items()
    assert torch.equal(once[1][0], once[1 + len(once)][0])
    assert not torch.equal(anew[1][0], anew[1 + len(anew)][0])


def test_the_threshold_is_the_one_with_the_best_iou_over_cracked_photos():
    counts = np.zeros((3, len(THRESHOLDS), 4), int)
    counts[:2] = [1, 9, 9, 0]
    counts[:2, 6] = [9, 1, 1, 0]
    counts[2, 3] = [0, 500, 0, 0]  # an undamaged photo has no say
    assert best_threshold(counts) == THRESHOLDS[6]
    assert best_threshold(counts[2:]) == 0.5


def iou_at(**others):
    """(4, thresholds, 4) counts of four cracked photos whose IoU is 0.5, but `t35=0.6` at 0.35."""
    c = np.tile([500, 250, 250, 0], (4, len(THRESHOLDS), 1))
    for name, iou in others.items():
        c[:, THRESHOLDS.tolist().index(int(name[1:]) / 100)] = [1000 * iou, 1000 - 1000 * iou, 0, 0]
    return c


def test_of_thresholds_that_are_as_good_as_equal_the_one_nearest_to_a_half_is_taken():
    assert best_threshold(iou_at()) == 0.5
    assert best_threshold(iou_at(t5=0.504)) == 0.5  # better by less than anybody could tell
    assert best_threshold(iou_at(t5=0.506)) == 0.05
    assert best_threshold(iou_at(t5=0.604, t90=0.601, t20=0.602)) == 0.2


def test_the_learning_rate_rises_over_a_tenth_of_the_steps_and_falls_to_nothing():
    for steps in (2, 10, 137):
        paces = [learning_rate_factor(step, steps) for step in range(steps + 1)]
        assert 0 < paces[0] <= 1 and max(paces) == 1 and paces[-1] == pytest.approx(0, abs=1e-9)
        top = paces.index(1)
        assert paces[: top + 1] == sorted(paces[: top + 1]) and paces[top:] == sorted(paces[top:], reverse=True)
        assert top <= max(1, steps / 10)


def test_the_best_epoch_is_that_of_the_best_iou_at_its_own_threshold_and_of_the_loss_where_there_is_no_iou():
    better_at_half, better_as_it_ships = (
        {"iou_cracked": half, "valid_loss": 1, "iou_at_threshold": best} for half, best in ((0.5, 0.6), (0.1, 0.8))
    )
    assert merit(better_as_it_ships) > merit(better_at_half)
    low, high = ({"iou_at_threshold": math.nan, "valid_loss": loss} for loss in (1, 2))
    assert merit(low) > merit(high)


def test_a_run_that_was_killed_before_its_first_save_is_started_again_in_its_folder(export, tmp_path, monkeypatch):
    flags = ["--data", str(export), "--epochs", "1", "--out", str(tmp_path / "run"), *TINY]

    def killed(*_):
        raise SystemExit

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(train, "train_one_epoch", killed)
        main(flags)
    with pytest.raises(BadInput, match="again with --out .*run"):
        main(["--resume", str(tmp_path / "run")])
    assert main(flags) == 0
    (tmp_path / "run" / "last.pt").unlink()  # as in a run that was handed on
    with pytest.raises(BadInput, match="no last.pt"):
        main(["--resume", str(tmp_path / "run")])


@pytest.mark.parametrize("lost", ["training", "history", "settings", "optimizer", "progress", "weights"])
def test_a_run_of_another_version_is_refused_in_one_line(finished, lost):
    saved = read_checkpoint(finished / "last.pt")
    for part in (saved, saved["training"]):
        part.pop(lost, None)
    torch.save(saved, finished / "last.pt")
    with pytest.raises(BadInput, match=str(finished)):
        main(["--resume", str(finished), "--device", "cpu"])


def test_a_resumed_run_keeps_its_own_flags_and_only_the_machine_may_change(start):
    defaults = ["--epochs", "20"], ["--out", "elsewhere"], ["--splits", "no.json"]  # no less typed than others
    for flags in (["--lr", "0.5"], ["--size", "96"], ["--seed", "3"], ["--dropout", "0.4"], ["--once"], *defaults):
        with pytest.raises(BadInput, match=f"{re.escape(str(start))}.* {flags[0]}") as refused:
            main(["--resume", str(start), *flags])
        if flags[0] == "--epochs":  # with the command that trains on
            data = read_checkpoint(start / "last.pt")["training"]["settings"]["data"]
            assert str(refused.value).endswith(f"python train.py --data {data} --from {start} --epochs 20")
    main(["--resume", str(start), "--workers", "1", "--save-minutes", "9", "--device", "cpu", "--size", "64"])


def test_a_run_with_a_setting_that_is_gone_is_refused_and_one_without_a_new_setting_is_not(finished):
    """What a student meets who removes a flag, or adds one, while a run is interrupted."""
    saved = read_checkpoint(finished / "last.pt")
    settings = saved["training"]["settings"]
    settings["gone"] = 0.7
    torch.save(saved, finished / "last.pt")
    with pytest.raises(BadInput, match=f"{re.escape(str(finished))}.*gone.*--from"):
        main(["--resume", str(finished)])
    del settings["gone"], settings["ema"]
    torch.save(saved, finished / "last.pt")
    main(["--resume", str(finished), "--device", "cpu"])


def test_a_run_in_the_folder_of_one_that_was_killed_before_its_first_save_remembers_its_own_start(start, tmp_path):
    roads, run = read_export(start.parent / "roads"), Run(tmp_path / "run")
    other = write_export(tmp_path / "other", seed=4)
    write_splits(run.splits, split(read_export(other)))  # all that the killed one wrote
    main(["--data", str(other), "--from", str(start), "--out", str(run.folder), "--epochs", "1", *TINY])
    taught = split(roads, file=start / "splits.json")["train"]
    assert trained_on(run.splits, roads.photos) == [photo.name for photo in taught]


def test_a_run_clears_what_a_killed_one_left_half_written_and_nothing_else(export, tmp_path):
    (tmp_path / f"{HALF_WRITTEN}7-last.pt").touch()
    (tmp_path / ".pre-commit-config.yaml").write_text("mine")
    main(["--data", str(export), "--epochs", "1", "--out", str(tmp_path), *TINY])
    assert [path.name for path in tmp_path.glob(".*")] == [".pre-commit-config.yaml"]


def test_the_help_tells_the_defaults_that_hold(capsys):
    with pytest.raises(SystemExit):
        arguments(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert all(name in said for name in TransferNet.MAPS)
    _, new = settings_of(arguments([]))
    _, tuned = settings_of(arguments(["--from", "any.pt"]))
    assert f"else {Preprocess.size})" in said and f"(default: {new.lr}, with --from {tuned.lr})" in said
    assert f"over all processes (default: {new.batch_size})" in said and f"epoch (default: {new.versions})" in said


def test_fine_tuning_is_gentler_by_default():
    tuned = settings_of(arguments(["--from", "any.pt"]))[1]
    assert tuned.lr < settings_of(arguments([]))[1].lr
    assert settings_of(arguments(["--from", "any.pt", "--lr", "0.5"]))[1].lr == 0.5


def test_a_run_without_an_epoch_says_how_to_go_on(tmp_path):
    (tmp_path / "last.pt").touch()
    for path in (tmp_path, tmp_path / "best.pt"):
        with pytest.raises(BadInput, match="--resume"):
            open_model(path, "cpu")


def test_the_weights_of_the_loss_reach_the_training(export, tmp_path):
    losses = []
    for name, flags in (("both", []), ("bce", ["--dice", "0"]), ("dice", ["--bce", "0"])):
        main(["--data", str(export), "--epochs", "1", *TINY, *flags, "--out", str(tmp_path / name)])
        losses.append(history(tmp_path / name)[0]["train_loss"])
    assert max(losses[1:]) < 0.95 * losses[0]


def test_dropout_for_a_network_that_has_none_is_one_line(export, tmp_path, monkeypatch):
    class Plain(CrackNet):
        def __init__(self):
            super().__init__(4, (1, 1, 1))
            self.arguments = {}

    monkeypatch.setitem(networks.NETWORKS, "Plain", Plain)
    save_checkpoint(tmp_path / "plain.pt", Plain(), asdict(Preprocess(size=64)), 0.5)
    flags = ["--data", str(export), "--epochs", "1", *TINY[2:], "--from", str(tmp_path / "plain.pt")]
    monkeypatch.setattr("train.CrackNet", Plain)  # as the walkthrough says for a network of one's own
    for start in (flags, flags[:-2]):
        with pytest.raises(BadInput, match="Plain has none"):
            main([*start, "--dropout", "0.1", "--out", str(tmp_path / "a")])
    main([*flags, "--out", str(tmp_path / "b")])
    main(["--resume", str(tmp_path / "b")])


def test_the_best_epoch_by_validation_is_kept_not_the_last(export, tmp_path, monkeypatch):
    scores = iter([(0.2, 0.3), (0.5, 0.4), (0.4, 0.6)])

    def validate(*what):
        iou, threshold = next(scores)
        keys = ("valid_loss", "iou_all", "iou_pooled", "iou_cracked")
        return dict.fromkeys(keys, 1.0) | {"iou_at_threshold": iou, "threshold": threshold}

    monkeypatch.setattr(train, "validate", validate)
    main(["--data", str(export), "--epochs", "3", "--out", str(tmp_path / "run"), *TINY])
    best, last = (read_checkpoint(tmp_path / "run" / name) for name in ("best.pt", "last.pt"))
    assert (best["threshold"], last["threshold"]) == (0.4, 0.6)
    assert any(not torch.equal(tensor, last["weights"][name]) for name, tensor in best["weights"].items())


def test_the_loss_of_an_epoch_is_the_mean_over_photos_not_over_batches(photos, monkeypatch):
    losses = iter([1.0, 4.0])
    monkeypatch.setattr(train, "train_step", lambda *what: next(losses))
    data, small = CrackDataset(photos[:3], Preprocess(size=64)), CrackNet(4, (1, 1, 1))
    state = optimisation(small, RATE, 2, CPU)
    train_one_epoch(state, loader(data, 2, seed=0), dice_bce, CPU, nothing)
    assert state.progress.photos == 3
    state.end_epoch({}, 0)
    assert state.history[0]["train_loss"] == (2 * 1 + 4) / 3
    row = validate(small, loader(data, 2), data.preprocess, lambda logits, mask: mask.float().mean(), CPU)
    assert row["valid_loss"] == pytest.approx(np.mean([data[k][1].float().mean() for k in range(3)]))


def test_each_process_drops_other_maps(photos, monkeypatch):
    drawn = []
    monkeypatch.setattr(train, "train_step", lambda *what: drawn.append(torch.rand(1).item()) or 0.0)  # as dropout
    for rank in (0, 1):
        monkeypatch.setattr(train.distributed, "rank", lambda rank=rank: rank)
        batches = loader(CrackDataset(photos[:2], Preprocess(size=64)), 2, seed=0)
        train_one_epoch(optimisation(CrackNet(4), RATE, 1, CPU), batches, dice_bce, CPU, nothing)
    assert len(set(drawn)) == len(drawn) == 2


def moved(loss_of, scaler):
    """How far a step of length 1 with this loss moves the weights."""
    model = torch.nn.Conv2d(3, 1, 1)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    state = optimisation(model, RATE, 10, CPU)
    state.optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    state.schedule = torch.optim.lr_scheduler.ConstantLR(state.optimizer, 1)
    state.scaler = scaler
    train_step(state, torch.ones(2, 3, 4, 4), torch.ones(2, 1, 4, 4), loss_of)
    return torch.cat([(a - b).flatten() for a, b in zip(model.parameters(), before, strict=True)]).norm().item()


@pytest.mark.parametrize("slope, scaled, length", [(0.1, True, 0.2), (1000, False, 1)])
def test_gradients_are_clipped_to_length_one_and_not_at_the_size_of_a_scaled_loss(slope, scaled, length):
    scaler = torch.amp.GradScaler("cpu", enabled=scaled, init_scale=2.0**10)  # as on a GPU in float16
    found = moved(lambda logits, mask: slope * logits.mean(), scaler)
    assert found == pytest.approx(length, abs=1e-3)  # unclipped, the slope for each of three weights and the bias


def row(epoch, **changed):
    keys = [*LOSSES, *IOUS]
    return {"epoch": epoch, "seconds": 1.0, "threshold": 0.5} | dict.fromkeys(keys, 0.7 / epoch) | changed


@pytest.mark.parametrize("epochs", [1, 20])
def test_no_legend_covers_a_curve_and_the_points_lie_on_top_of_the_line_at_the_chosen_epoch(epochs):
    fig = training_curves([row(epoch + 1) for epoch in range(epochs)], "drawn, seed 0")
    fig.draw_without_rendering()
    for axes in fig.axes:
        legend, panel = axes.get_legend().get_window_extent(), axes.get_window_extent()
        assert legend.y1 <= panel.y0 and legend.x1 <= fig.bbox.x1 and panel.width > fig.bbox.width / 3
        *curves, chosen = axes.get_lines()
        assert all(curve.get_zorder() > chosen.get_zorder() for curve in curves)


def test_the_time_left_is_reckoned_from_the_mean_of_the_epochs():
    history = [row(1, seconds=100.0), row(2, seconds=100.0), row(3, seconds=1000.0)]
    assert f"about {duration(7 * 400)} left" in in_words(history, 10)
    assert "left" not in in_words(history, 3)


def test_a_run_whose_data_moved_says_so_and_goes_on_where_they_are_now(export, tmp_path):
    run, moved = Run(tmp_path / "run"), tmp_path / "moved"
    main(["--data", str(export), "--epochs", "1", "--out", str(run.folder), *TINY])
    export.rename(moved)
    with pytest.raises(BadInput, match=f"{re.escape(str(run.folder))}: .*{re.escape(str(export))}.* --data"):
        main(["--resume", str(run.folder)])
    assert main(["--resume", str(run.folder), "--data", str(moved)]) == 0


def test_a_run_is_not_resumed_on_other_labels_but_one_that_does_not_know_its_own_is(export, tmp_path):
    run, labels = Run(tmp_path / "run"), export / "_annotations.coco.json"
    main(["--data", str(export), "--epochs", "1", "--out", str(run.folder), *TINY])
    own = labels.read_text()
    edit_json(export, lambda content: content["annotations"].pop(2))
    with pytest.raises(BadInput, match="labels of road002.jpg"):
        main(["--resume", str(run.folder)])
    labels.write_text(own)
    main(["--resume", str(run.folder)])
    edit_json(export, lambda content: content["annotations"][4]["segmentation"][0].__setitem__(0, 9.5))
    with pytest.raises(BadInput, match="labels of road004.jpg"):
        main(["--resume", str(run.folder)])
    content = json.loads(run.splits.read_text())
    del content["labels"]  # as in a run of an earlier version
    run.splits.write_text(json.dumps(content))
    main(["--resume", str(run.folder)])


def test_a_frozen_encoder_is_not_changed_by_weight_decay_either():
    model = TransferNet("mobilenet_v3_small", width=4)
    settings = Settings(encoder="mobilenet_v3_small", encoder_rate=0.0, lr=0.1, weight_decay=0.5)
    model.trunk.requires_grad_(False)
    before = [weight.clone() for weight in model.trunk.parameters()]
    state = optimisation(model, settings, 5, torch.device("cpu"))
    train_step(state, torch.zeros(2, 3, 32, 32), torch.ones(2, 1, 32, 32), dice_bce)
    assert all(torch.equal(one, other) for one, other in zip(before, model.trunk.parameters(), strict=True))
