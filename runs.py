"""The run folder: what a training writes there, whole or not at all, and how a stopped one goes on."""

import csv
import json
import math
import subprocess
import time
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import torch

import distributed
from command import HALF_WRITTEN, BadInput, number_of, signals_noted, write_json, written_whole
from data.split import trained_on, write_splits
from dataset import SAMPLE
from formats.coco import PART_NAMES
from formats.photo import SUFFIXES
from model import parameter_count, precision, read_checkpoint, save_checkpoint, weights_file
from report.curves import training_curves
from report.figure import save_figure

RUNS = Path("runs")
SHIPPED = Path(__file__).parent / "weights" / "crack.pt"
NOTHING_LEARNT = 0.1  # IoU of the crack: where all is called crack it is the crack's share of the photo, a few percent
IOU_KEYS = ("iou_cracked", "iou_all", "iou_pooled")  # at 0.5
FEW = (("train", 10, "to learn from"), ("valid", 3, "to choose epoch and threshold by"))  # cracked photos
MACHINE = {"resume", "device", "workers", "save_minutes"}  # flags that a resumed run may change
NOTHING_DONE = {"batches": 0, "photos": 0, "loss": 0.0, "seconds": 0.0}  # of an epoch


def number_type(dtype):
    """torch.float32 -> "float32"."""
    return str(dtype).removeprefix("torch.")


def introduction(folder, parts, model, args, device, saved):
    """What is about to happen, in a few lines."""
    cracked = {part: sum(photo.cracked for photo in photos) for part, photos in parts.items()}
    photos = ", ".join(f"{len(parts[part])} {part} ({cracked[part]} cracked)" for part in parts)
    place = f"{device}" if distributed.world() == 1 else f"{distributed.world()} processes on {device}"
    few = "".join(
        f"\nnote: {number_of(cracked[part], f'cracked {part} photo')} {what}: few, expect chance"
        for part, enough, what in FEW
        if cracked[part] < enough
    )
    return (
        f"{args.data}: {photos}{few}\n"
        f"{type(model).__name__}, {parameter_count(model):,} parameters; {number_of(args.epochs, 'epoch')} of "
        f"{number_of(len(parts['train']), 'photo')} and {number_of(args.versions, 'augmented version')} of each, on "
        f"{place}, {number_type(precision(device))}\n"
        f"run folder {folder}; Ctrl-C saves, and python train.py --resume {folder} goes on"
        f"{beginning(parts, args, saved)}"
    )


def beginning(parts, args, saved):
    """Where a training begins that does not begin anew, on a line of its own; a warning if what it starts from has seen
    what it is scored on."""
    if saved:
        epochs, batches = len(saved["training"]["history"]), saved["training"]["done"]["batches"]
        return f"\ngoes on after {number_of(epochs, 'epoch')} and {batches} batches of the next"
    if not args.start:
        return ""
    line, start = f"\nstarts from the network and weights of {args.start}", weights_file(Path(args.start))
    learnt_at = read_checkpoint(start)["preprocess"]["size"]
    line += f", photos at {args.size} pixels" + f" instead of its {learnt_at}" * (args.size != learnt_at)
    known = trained_on(start.with_name("splits.json"), parts["valid"] + parts["test"])
    if known:
        photos = f"{number_of(len(known), 'photo')} of valid and test ({known[0]} ...)"
        line += f"\nWARNING: {photos} trained {args.start}, scores will be too good"
    return line


def in_words(row, epochs):
    """One line about an epoch."""
    return (
        f"epoch {row['epoch']:3d}/{epochs}  loss: train {row['train_loss']:.4f}, valid {row['valid_loss']:.4f}  "
        f"valid IoU of the crack: {row['iou_at_threshold']:.4f} at its best threshold {row['threshold']:.2f}, "
        f"{row['iou_cracked']:.4f} at 0.5  {row['seconds']:.0f} s"
    )


def conclusion(history, validated, folder, data):
    """What came of the training, and the next command."""
    best = max(history, key=merit)
    chosen = (
        f"{number_of(len(history), 'epoch')} done; best epoch {best['epoch']}, chosen with its threshold by IoU of "
    )
    chosen += f"the crack on {number_of(validated, 'validation photo')}"
    if (iou := best.get("iou_at_threshold", math.nan)) < NOTHING_LEARNT:  # a run that older code began has none
        chosen += (
            f"\nWARNING: at that threshold IoU of the crack is {iou:.3f} there: it has not learnt what a crack is, its "
            f"masks mean nothing; look at the labels (python dataset.py {data}) and train for more epochs"
        )
    further = f"python train.py --data {data} --from {folder} trains it further"
    return f"{chosen}\nnext: python evaluate.py {folder}; {further}"


def merit(row):
    """What the best epoch is chosen by: validation IoU of the crack at the epoch's own threshold, which ships with it;
    the loss where no validation photo has a crack."""
    iou = row.get("iou_at_threshold", row["iou_cracked"])  # a run that older code began has the second alone
    return iou if math.isfinite(iou) else -row["valid_loss"]


def write_history(folder, history, args):
    """history.csv and curves.png of the run."""
    with written_whole(folder / "history.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, history[-1])  # which has all columns, also where older code began the run
        writer.writeheader()
        writer.writerows(history)
    chosen, title = max(history, key=merit)["epoch"], f"{Path(args.data).name}, seed {args.seed}"
    save_figure(folder / "curves.png", training_curves(history, chosen, title))


def to_keep(args):
    """The arguments that a resumed run needs, as JSON values."""
    return {name: value for name, value in vars(args).items() if name not in {*MACHINE, "out", "splits", "typed"}}


def commit():
    """Commit id of this code, with "+" where files are changed; "unknown" outside a git checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@distributed.by_process_0
def write_facts(folder, args, parts, device, history):
    """splits.json and arguments.json: what the run was given, by which code on what machine; and what a killed run
    could not do any more."""
    for half_written in folder.glob(f"{HALF_WRITTEN}*"):
        half_written.unlink()
    start = weights_file(Path(args.start)).with_name("splits.json") if args.start else None
    write_splits(folder / "splits.json", parts, start)
    machine = {"device": str(device), "precision": number_type(precision(device)), "processes": distributed.world()}
    facts = to_keep(args) | {"commit": commit(), "torch": torch.__version__} | machine
    write_json(folder / "arguments.json", facts)
    if history:
        write_history(folder, history, args)


def open_run(args):
    """(run folder, what --resume finds there or None); args.out becomes that folder, and the arguments of a run that
    goes on take the place of the flags. Raises BadInput."""
    if not args.resume:
        name = Path(args.data or SAMPLE).name.removesuffix(".zip")
        args.out = args.out or RUNS / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
        if any(path.name.lower() in PART_NAMES or path.suffix.lower() in SUFFIXES - {".png"}
               for path in args.out.glob("*")):  # fmt: skip
            raise BadInput(f"--out {args.out}: holds photos or an export; give the run a folder of its own")
        if (args.out / "last.pt").exists():
            raise BadInput(f"{args.out}: holds a run already; go on with --resume {args.out} or choose another --out")
        if any(not path.name.startswith(HALF_WRITTEN) for path in args.out.glob("*.pt")):
            raise BadInput(f"--out {args.out}: holds other weights; give the run a folder of its own")
        return args.out, None
    saved = read_saved(args.resume)
    own = saved["training"]["arguments"]
    for name in sorted(args.typed - MACHINE - {"data"}):
        if name not in own or getattr(args, name) != own[name]:
            flag = "--from" if name == "start" else f"--{name.replace('_', '-')}"
            raise BadInput(f"--resume {args.resume}: a run keeps its own {flag}; leave it out, or start a new run")
    vars(args).update(own | {"data": args.data or own["data"], "splits": args.resume / "splits.json"})
    args.out = args.resume
    return args.out, saved


def read_saved(folder):
    """last.pt of a run that can be resumed. Raises BadInput."""
    if not (folder / "last.pt").is_file():
        raise BadInput(f"--resume {folder}: no last.pt there; give the folder of a run that has saved")
    try:
        saved = read_checkpoint(folder / "last.pt")
    except ValueError as error:
        raise BadInput(f"--resume {error}") from None
    if not {"arguments", "history"} <= set(saved.get("training") or ()):
        raise BadInput(f"--resume {folder}: its last.pt only predicts; a run that can go on wrote more into it")
    return saved


def learn(steps, save_now, minutes, device):
    """Make the steps of an epoch; save every so many minutes, at its end and, before stopping, on Ctrl-C."""
    saved_at = time.monotonic()
    with signals_noted() as asked, closing(steps):
        for finished in steps:
            stop = distributed.anywhere(asked, device)
            if stop or finished or time.monotonic() - saved_at >= 60 * minutes:
                save_now()
                saved_at = time.monotonic()
            if stop:
                break
    if distributed.anywhere(asked, device):
        raise KeyboardInterrupt


@distributed.by_process_0
def save(folder, model, preprocess, threshold, args, state, history, done):
    """last.pt with all that a resumed run needs; `done` says how far the epoch after `history` has come."""
    training = {name: part.state_dict() for name, part in state.items()}
    training |= {"history": history, "done": done, "arguments": to_keep(args)}
    save_checkpoint(folder / "last.pt", model, asdict(preprocess), threshold, training)


@distributed.by_process_0
def save_epoch(folder, model, ships, preprocess, threshold, args, state, history):
    """best.pt (of the network that `ships`) if this epoch is the best, last.pt, history and curves; a kill between
    them only repeats some of it."""
    if max(history, key=merit) is history[-1]:
        save_checkpoint(folder / "best.pt", ships, asdict(preprocess), threshold)
    save(folder, model, preprocess, threshold, args, state, history, NOTHING_DONE)
    write_history(folder, history, args)


def restore(folder, saved, state):
    """The inverse of `save`, but for the network: (history, what is done of the epoch after it, threshold).

    Raises BadInput.
    """
    try:
        for name, part in state.items():
            if content := saved["training"][name]:  # a run on the CPU has no loss scaling to pass on
                part.load_state_dict(content)
        return saved["training"]["history"], saved["training"]["done"], saved["threshold"]
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise BadInput(
            f"--resume {folder}: its last.pt is of another version; start a new run with --from {folder}"
        ) from None


def newest_run():
    """The run folder under runs/ whose best.pt is the newest; before the first training, the weights that ship."""
    checkpoints = sorted(RUNS.glob("*/best.pt"), key=lambda file: file.stat().st_mtime)
    newest = checkpoints[-1].parent if checkpoints else SHIPPED
    for begun in sorted(RUNS.glob("*/last.pt")):
        if not begun.with_name("best.pt").exists() and begun.stat().st_mtime > weights_file(newest).stat().st_mtime:
            print(f"note: {begun.parent} has finished no epoch, so {newest} is taken")
    if not checkpoints:
        print(f"note: no run in {RUNS}/, so the weights that ship are taken")
    return newest


def doubt(checkpoint):
    """In words, that the run of this checkpoint has learnt nothing, by its history.csv; nothing where nobody knows."""
    try:
        with open(weights_file(checkpoint).with_name("history.csv"), newline="", encoding="utf-8") as file:
            iou = max(float(row["iou_at_threshold"]) for row in csv.DictReader(file))
    except (OSError, KeyError, TypeError, ValueError):
        return ""
    nothing = f"this network reached an IoU of {iou:.3f} on validation: its masks mean nothing"
    return nothing if iou < NOTHING_LEARNT else ""


def read_facts(file):
    """arguments.json of a run -> dict, {} where there is none. Raises BadInput."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
    except (ValueError, TypeError):
        raise BadInput(f"{file}: damaged; give --data, --splits and the run's best.pt instead of its folder") from None


def own_data(folder, facts):
    """The export that a run was trained on, by its `facts`, or None. Raises BadInput where it is not here."""
    if (data := facts.get("data")) and not Path(data).exists() and Path(data).resolve() != SAMPLE.resolve():
        raise BadInput(f"{folder}: was trained on {data}, which is not here; give --data")
    return data
