"""The run folder: what it contains, how it is written, and how an interrupted run continues.

best.pt         weights and threshold of the best epoch, for prediction
last.pt         everything that an interrupted training needs to continue
history.csv     losses and scores of every epoch        curves.png   the same as curves
splits.json     which photo was in which part           arguments.json   settings, code and machine
"""

import csv
import json
import math
import subprocess
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import distributed
from command import HALF_WRITTEN, SAMPLE, BadInput, number_of, read_csv, signals_noted, some, write_csv, write_json
from data.split import trained_on, write_splits
from formats.coco import PART_NAMES
from formats.photo import SUFFIXES
from formats.pictures import save_figure
from model import BEST, checkpoint_file, parameter_count, precision, read_checkpoint, save_checkpoint

RUNS = Path("runs")
SHIPPED = Path(__file__).parent / "weights" / "crack.pt"
NOTHING_LEARNT = 0.1  # IoU of the crack: a mask that is all crack reaches the crack's share of the photo, a few percent
FEW_CRACKED = {"train": 10, "valid": 3}  # fewer cracked photos than this are said to be few
LOSSES = {"train_loss": "train", "valid_loss": "validation"}  # lines of curves.png: column of history.csv, words
IOUS = {
    "iou_at_threshold": "crack, at the epoch's best threshold (decides which epoch is kept)",
    "iou_cracked": "crack, at 0.5",
    "iou_all": "all photos, at 0.5",
    "iou_pooled": "all pixels together, at 0.5",
}


# ------------------------------------------------------------------------------------------------ begin and resume


@dataclass(frozen=True)
class Run:
    """A training's folder and, where it continues an interrupted training, the content of last.pt."""

    folder: Path
    saved: dict | None = None

    @property
    def best(self):
        return self.folder / BEST

    @property
    def last(self):
        return self.folder / "last.pt"

    @property
    def history_file(self):
        return self.folder / "history.csv"

    @property
    def curves(self):
        return self.folder / "curves.png"

    @property
    def splits(self):
        return self.folder / "splits.json"

    @property
    def arguments_file(self):
        return self.folder / "arguments.json"


def run_of(path):
    """Run folder, or a checkpoint in one, a path or a string -> Run."""
    path = Path(path)
    return Run(path if path.is_dir() else path.parent)


def weights_file(path):
    """Run folder or checkpoint file, a path or a string -> the file. Raises BadInput for a run without an epoch."""
    file, run = checkpoint_file(path), run_of(path)
    if not file.exists() and run.last.exists():
        raise BadInput(f"{file}: no epoch is finished; python train.py --resume {run.folder} continues the run")
    return file


def new_run(out=None, data=None):
    """Run in the folder `out` (default: runs/DATA-TIME). Raises BadInput where something else lies there."""
    name = Path(data or SAMPLE).resolve().name.removesuffix(".zip")  # "." has none
    folder = out or RUNS / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    run = Run(folder)
    if run.last.exists():
        raise BadInput(f"{folder}: holds a run already; continue it with --resume {folder} or choose another --out")
    for path in folder.glob("*"):
        if path.name.lower() in PART_NAMES or path.suffix.lower() in SUFFIXES - {".png"}:
            raise BadInput(f"--out {folder}: holds photos or an export; give the run a folder of its own")
        if path.suffix == ".pt" and not path.name.startswith(HALF_WRITTEN):
            raise BadInput(f"--out {folder}: holds other weights; give the run a folder of its own")
    return run


def interrupted_run(path):
    """Run that was interrupted, from its folder or a checkpoint in it. Raises BadInput."""
    if not path.exists():
        raise BadInput(f"--resume {path}: no such folder; give a run folder, as the training printed it")
    folder = run_of(path).folder
    run = Run(folder)
    last = run.last
    if not last.is_file() and run.arguments_file.is_file() and not run.best.is_file():
        raise BadInput(f"--resume {folder}: stopped before its first save; start it again with --out {folder}")
    if not last.is_file():
        raise BadInput(f"--resume {folder}: no {last.name} there; give a run folder, as the training printed it")
    saved = read_checkpoint(last)
    if not {"settings", "history"} <= set(saved.get("training") or ()):
        raise BadInput(f"--resume {folder}: its last.pt is of another version; start a new run with --from {folder}")
    return Run(folder, saved)


def own_settings(run, given, known):
    """{name: value} that a run began with. Raises BadInput where `given`, the flags given now, differ from them, and
    where a setting is not `known`, the names of today's."""
    own = run.saved["training"]["settings"]
    strange = sorted(own.keys() - set(known))
    if strange:
        raise BadInput(
            f"--resume {run.folder}: began with settings that this version does not have ({some(strange)}); start a "
            f"new run with --from {run.folder}"
        )
    for name, value in sorted(given.items()):
        if name not in own or value != own[name]:
            flag = "--from" if name == "start" else f"--{name.replace('_', '-')}"
            instead = "start a new run"
            if name == "epochs":
                instead = f"train on from its weights: {new_run_from(run, own['data'])} --epochs {value}"
            raise BadInput(f"--resume {run.folder}: a run keeps its own {flag}; leave it out, or {instead}")
    return own


def new_run_from(run, data):
    """The command that fine-tunes the weights of this run on the same data."""
    return f"python train.py --data {data} --from {run.folder}"


def restore(run, state):
    """Load the state in last.pt into a TrainState. Raises BadInput."""
    try:
        state.load_state_dict(run.saved["training"])
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise BadInput(
            f"--resume {run.folder}: its last.pt is of another version; start a new run with --from {run.folder}"
        ) from None


# ------------------------------------------------------------------------------------------------ write


@distributed.by_process_0
def write_facts(run, settings, parts, device):
    """splits.json and arguments.json: photos, settings, version of the code, machine."""
    for half_written in run.folder.glob(f"{HALF_WRITTEN}*"):  # of a killed process
        half_written.unlink()
    if not run.saved:  # a run killed before its first save may have left its own; its start is not this one's
        run.splits.unlink(missing_ok=True)
    start = run_of(settings.start).splits if settings.start else None
    write_splits(run.splits, parts, start)
    machine = {"device": str(device), "precision": number_type(precision(device)), "processes": distributed.world()}
    code = {"commit": commit(), "torch": torch.__version__}
    data = {"cracked": cracked_in(parts)}
    write_json(run.arguments_file, asdict(settings) | data | code | machine)


@distributed.by_process_0
def save(run, state, preprocess, settings):
    """last.pt: the network, the newest epoch's threshold, and all that a resumed run needs."""
    training = state.state_dict() | {"settings": asdict(settings)}
    threshold = state.history[-1]["threshold"] if state.history else 0.5
    save_checkpoint(run.last, state.model, asdict(preprocess), threshold, training)


@distributed.by_process_0
def save_epoch(run, state, preprocess, settings):
    """best.pt if the epoch that has just ended is the best, last.pt, history and curves.

    In this order: if the run is killed in between, it repeats some of it after --resume.
    """
    newest = state.history[-1]
    if best_epoch(state.history) is newest:
        save_checkpoint(run.best, state.for_prediction, asdict(preprocess), newest["threshold"])
    save(run, state, preprocess, settings)
    write_history(run, state.history, settings)


@distributed.by_process_0
def write_history(run, history, settings):
    """history.csv and curves.png, once an epoch has ended."""
    if not history:
        return
    title = f"{Path(settings.data).resolve().name}, seed {settings.seed}"
    columns = list(history[0])
    write_csv(run.history_file, columns, [[row[column] for column in columns] for row in history])
    save_figure(run.curves, training_curves(history, title))


@contextmanager
def autosave(save_now, minutes, device):
    """Gives a function to call after every training step: it calls `save_now` every so many minutes.

    On Ctrl-C or SIGTERM the step is finished and saved before KeyboardInterrupt is raised. At the end of the block
    everything is saved, too, so that Ctrl-C may interrupt the validation that follows.
    """
    saved_at = time.monotonic()
    with signals_noted() as signals:

        def after_step():
            nonlocal saved_at
            stop = distributed.anywhere(signals, device)
            if stop or time.monotonic() - saved_at >= 60 * minutes:
                save_now()
                saved_at = time.monotonic()
            if stop:
                raise KeyboardInterrupt

        yield after_step
        save_now()
    if distributed.anywhere(signals, device):
        raise KeyboardInterrupt


def merit(row):
    """The score that chooses the best epoch: validation IoU of the crack at the epoch's own threshold, which is saved
    with it, or minus the loss if no validation photo has a crack."""
    iou = row["iou_at_threshold"]
    return iou if math.isfinite(iou) else -row["valid_loss"]


def best_epoch(history):
    """The row of the best epoch; of equal ones the first."""
    return max(history, key=merit)


def training_curves(history, title):
    """Figure: both losses on one axis, validation IoU on a second panel, the chosen epoch marked."""
    fig = Figure(figsize=(11, 5), layout="constrained")
    fig.suptitle(title)
    losses, scores = fig.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    chosen = best_epoch(history)["epoch"]
    for axes, what, lines in ((losses, "loss", LOSSES), (scores, "IoU on validation", IOUS)):
        for number, (key, label) in enumerate(lines.items()):
            width = max(1, 3.5 - 0.85 * number)  # ever thinner, so that none hides another
            values = [row[key] for row in history]
            axes.plot(epochs, values, marker="o", markersize=width + 3, linewidth=width, label=label)
        axes.axvline(chosen, color="darkgrey", linestyle="--", zorder=0, label=f"chosen epoch {chosen}")
        axes.set(xlabel="epoch", ylabel=what)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        below = (0.5, -0.15)  # where no curve can run
        axes.legend(loc="upper center", bbox_to_anchor=below, ncols=2, fontsize=8)
    scores.set_ylim(0, 1)
    return fig


def number_type(dtype):
    """torch.float32 -> "float32"."""
    return str(dtype).removeprefix("torch.")


def commit():
    """Commit id of this code, with "+" where files are changed; "unknown" outside a git checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


# ------------------------------------------------------------------------------------------------ in words


def introduction(run, parts, model, settings, device):
    """A few lines: data, network, device, and how to stop and continue."""
    cracked = cracked_in(parts)
    counts = ", ".join(f"{len(photos)} {part} ({cracked[part]} cracked)" for part, photos in parts.items())
    place = str(device) if distributed.world() == 1 else f"{distributed.world()} processes on {device}"
    lines = [
        f"{settings.data}: {counts}",
        f"{type(model).__name__}, {parameter_count(model):,} parameters; photos at {settings.size} pixels; "
        f"{place}, {number_type(precision(device))}",
    ]
    for part, enough in FEW_CRACKED.items():
        if cracked[part] < enough:
            photos = number_of(cracked[part], f"cracked {part} photo")
            lines.append(f"note: only {photos}: too few for a reliable result, the scores will vary by chance")
    if run.saved:
        progress = run.saved["training"]["progress"]
        epochs = number_of(len(run.saved["training"]["history"]), "epoch")
        lines.append(f"continues after {epochs} and {number_of(progress['steps'], 'step')} of the next")
    elif settings.start:
        lines += about_start(parts, settings)
    lines.append(f"run folder {run.folder}; Ctrl-C saves, and python train.py --resume {run.folder} continues")
    return "\n".join(lines)


def cracked_in(parts):
    """{part: [Photo]} -> {part: number of cracked photos}."""
    return {part: sum(photo.cracked for photo in photos) for part, photos in parts.items()}


def about_start(parts, settings):
    """Lines on the network that --from names; a warning if it was trained on valid or test photos of this run."""
    lines = [f"starts from the network and weights of {settings.start}"]
    learnt_at = read_checkpoint(weights_file(settings.start))["preprocess"]["size"]
    if settings.size != learnt_at:
        lines.append(f"note: photos at {settings.size} pixels instead of its {learnt_at}")
    known = trained_on(run_of(settings.start).splits, parts["valid"] + parts["test"])
    if known:
        photos = f"{number_of(len(known), 'photo')} of valid and test ({known[0]} ...)"
        lines.append(f"WARNING: {settings.start} was trained on {photos}, so scores will be too good")
    return lines


def in_words(history, epochs):
    """One line about the epoch that has just ended."""
    row = history[-1]
    took = duration(row["seconds"])
    left = epochs - row["epoch"]
    if left:
        a_mean_epoch = sum(done["seconds"] for done in history) / len(history)
        took += f", about {duration(left * a_mean_epoch)} left"
    return (
        f"epoch {row['epoch']:3d}/{epochs}  loss: train {row['train_loss']:.4f}, valid {row['valid_loss']:.4f}  "
        f"valid IoU of the crack: {row['iou_at_threshold']:.4f} at its best threshold {row['threshold']:.2f}, "
        f"{row['iou_cracked']:.4f} at 0.5  {took}"
    )


def duration(seconds):
    """12.4 -> "12 s", 700 -> "12 min", 8000 -> "2 h 13 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def conclusion(run, history, validated, data):
    """The result of the training, and the next commands."""
    best = best_epoch(history)
    photos = number_of(validated, "validation photo")
    why = f"It and its threshold have the highest IoU of the crack on {photos}"
    if math.isnan(best["iou_at_threshold"]):
        why = f"It has the lowest loss on {photos}, none with a crack, so nothing chose a threshold: it stays at 0.5"
    lines = [f"{number_of(len(history), 'epoch')} done; best epoch: {best['epoch']}. {why}"]
    if best["iou_at_threshold"] < NOTHING_LEARNT:
        lines.append(
            f"WARNING: that IoU is only {best['iou_at_threshold']:.3f}: the network has not learnt what a crack "
            f"is. Check the labels (python dataset.py {data}) and train for more epochs"
        )
    lines.append(f"next: python evaluate.py {run.folder}")
    lines.append(f"use: python inference.py PHOTO --checkpoint {run.folder}")
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------ read


def best_checkpoints(folder=None):
    """The best.pt of every run in a folder (default: runs/), finished or not, the one that learnt last at the end."""
    return sorted((folder or RUNS).glob(f"*/{BEST}"), key=lambda file: last_saved(Run(file.parent)))


def last_saved(run):
    """When a run last saved its best or its newest weights: its best epoch may lie far back."""
    return max(file.stat().st_mtime for file in (run.best, run.last) if file.exists())


def newest_run():
    """The run folder under runs/ that learnt last; before the first training, the shipped weights."""
    checkpoints = best_checkpoints()
    chosen = checkpoints[-1].parent if checkpoints else SHIPPED
    for folder in sorted(RUNS.glob("*")):
        run = Run(folder)
        unfinished = run.last.exists() and not run.best.exists()
        if unfinished and (not checkpoints or last_saved(run) > last_saved(Run(chosen))):
            print(f"note: {folder} has finished no epoch yet, so {chosen} is used")
    if not checkpoints:
        print(f"note: no run in {RUNS}/, so the shipped weights are used")
    return chosen


def warning_about(checkpoint):
    """A warning about the run of this checkpoint: it has learnt nothing, or too few cracked photos chose its epoch and
    threshold. "" where neither is known."""
    run = run_of(checkpoint)
    iou, cracked = best_iou(run), validated_on(run)
    if iou < NOTHING_LEARNT:
        return f"this network reached an IoU of only {iou:.3f} on validation: its masks mean nothing"
    if cracked < FEW_CRACKED["valid"]:
        photos = number_of(cracked, "cracked validation photo")
        return f"the epoch and threshold of this network were chosen on only {photos}, so its masks may be poor"
    return ""


def best_iou(run):
    """The highest IoU on validation in the run's history.csv; nan where that does not say."""
    try:
        return max(float(row["iou_at_threshold"]) for row in read_csv(run.history_file))
    except (OSError, KeyError, TypeError, ValueError, csv.Error):  # a student may hand in any file of that name
        return math.nan


def validated_on(run):
    """Number of cracked validation photos by the run's arguments.json; nan where that does not say."""
    try:
        return int(read_facts(run)["cracked"]["valid"])
    except (BadInput, KeyError, TypeError, ValueError):  # written by an earlier version, or handed in
        return math.nan


def read_facts(run):
    """Run -> the dict in its arguments.json, {} where there is none. Raises BadInput."""
    file = run.arguments_file
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise BadInput(f"{file}: damaged; give --data, --splits and the run's best.pt instead of its folder") from None


def own_data(run, facts):
    """The export that a run was trained on, by its `facts`, or None. Raises BadInput where it is not here."""
    data = facts.get("data")
    if data and not Path(data).exists() and Path(data).resolve() != SAMPLE.resolve():
        raise BadInput(f"{run.folder}: was trained on {data}, which is not here; give --data")
    return data
