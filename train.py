"""Train CrackNet on a COCO export: loss, one epoch, validation, curves, and a run folder that can be resumed."""

import csv
import json
import math
import subprocess
import time
from dataclasses import asdict
from datetime import datetime
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from augment import augment
from command import BadInput, choose_device, execute, flags, written_whole
from dataset import SAMPLE, CrackDataset, Shuffled, loader, open_data
from evaluate import best_threshold, threshold_counts
from inference import RUNS
from metrics import THRESHOLDS, summary
from model import CrackNet, autocast, parameter_count, read_checkpoint, save_checkpoint
from photo import Preprocess
from report.figure import save_figure
from split import same_photos, split, write_splits

EPOCHS = 30  # the drawn sample takes under 12 minutes, CrackForest under 30, on 2 cores
IOU_KEYS = ("iou_cracked", "iou_all", "iou_pooled")


def dice_bce(logits, mask, dice_weight=1.0, bce_weight=1.0):
    """(N, 1, H, W) logits and 0/1 mask -> weighted sum of soft Dice loss and binary cross-entropy.

    Dice is taken over the whole batch: per photo, an undamaged one would be worth 0 or 1 whatever the network does
    (Milletari et al. 2016; batch variant as in nnU-Net).
    """
    mask = mask.to(logits.dtype)
    probability = logits.sigmoid()
    overlap, total = (probability * mask).sum(), probability.sum() + mask.sum()
    dice = 1 - (2 * overlap + 1) / (total + 1)  # +1 pixel: a batch without any crack has a gradient too
    return dice_weight * dice + bce_weight * F.binary_cross_entropy_with_logits(logits, mask)


def train_one_epoch(model, batches, loss_of, optimizer, schedule, scaler, device):
    """One pass over the loader; mean loss per photo. Raises FloatingPointError when a loss is not finite."""
    model.train()
    total, count = 0.0, 0
    bar = tqdm(batches, "training", leave=False, unit="batch")
    for inputs, masks, indices in bar:
        inputs = inputs.to(device, memory_format=torch.channels_last, non_blocking=True)
        masks = masks.to(device, non_blocking=True)
        with autocast(device):
            logits = model(inputs)
        loss = loss_of(logits.float(), masks)
        if not math.isfinite(value := loss.item()):
            names = sorted({batches.dataset.photos[i].name for i in indices.tolist()})
            raise FloatingPointError(
                f"loss is {value} on {', '.join(names)}; try a smaller --lr or look at these photos"
            )
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        total, count = total + value * len(inputs), count + len(inputs)
        bar.set_postfix(loss=f"{total / count:.3f}")
    return total / count


@torch.inference_mode()
def validate(model, batches, preprocess, loss_of, device):
    """({valid_loss, IoUs at threshold 0.5}, best threshold): loss at the network's size, IoU at the photos' own."""
    model.eval()
    total = 0.0
    for inputs, masks, _ in batches:
        with autocast(device):
            logits = model(inputs.to(device, memory_format=torch.channels_last, non_blocking=True))
        total += loss_of(logits.float(), masks.to(device)).item() * len(inputs)
    if not math.isfinite(total):
        raise FloatingPointError("the validation loss is not finite: the network has diverged; try a smaller --lr")
    counts = threshold_counts(model, preprocess, batches.dataset.photos)  # at the photos' own size, as they will ship
    scores = summary(counts[:, THRESHOLDS.tolist().index(0.5)])
    row = {"valid_loss": total / len(batches.dataset)} | {key: scores[key] for key in IOU_KEYS}
    return row, best_threshold(counts)


def curves(history, title):
    """Figure: both losses on one axis, validation IoU on a second panel, the chosen epoch marked."""
    chosen = max(history, key=rank)["epoch"]
    fig = Figure(figsize=(11, 4.2), layout="constrained")
    fig.suptitle(title)
    losses, scores = fig.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for axes, keys in ((losses, ("train_loss", "valid_loss")), (scores, IOU_KEYS)):
        for key in keys:
            axes.plot(epochs, [row[key] for row in history], marker=".", label=key.replace("_", " "))
        axes.axvline(chosen, color="grey", linestyle="--", label=f"chosen epoch {chosen}")
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    losses.set_ylabel("Dice + BCE loss")
    scores.set_ylabel("IoU on validation, threshold 0.5")
    scores.set_ylim(0, 1)
    return fig


def rank(row):
    """What the best epoch is chosen by: validation IoU, or the loss where no validation photo has a crack."""
    return row["iou_cracked"] if math.isfinite(row["iou_cracked"]) else -row["valid_loss"]


def write_history(run, history, args):
    """history.csv and curves.png of the run, each whole or not at all."""
    with written_whole(run / "history.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, history[0])
        writer.writeheader()
        writer.writerows(history)
    save_figure(run / "curves.png", curves(history, f"{Path(args.data).name}, seed {args.seed}"))


def arguments(argv):
    parser = flags(
        "Train CrackNet on a COCO export. Writes a run folder: best.pt (the epoch with the best validation IoU and the "
        "threshold chosen there), last.pt (to resume), history.csv, curves.png, splits.json, arguments.json.",
        "python train.py",
        "python train.py --data my-export --epochs 40",
        "python train.py --resume runs/my-export-20260101-120000",
    )
    add = parser.add_argument_group("data").add_argument
    add("--data", help="folder of a COCO export (default: data/sample, drawn on first use)")
    add("--classes", nargs="+", metavar="NAME", help="category names that mean crack, where unclear")
    add("--splits", type=Path, metavar="FILE", help="splits.json that says which photo is in train, valid and test "
        "(default: the export's own parts, else 70/15/15)")  # fmt: skip
    add("--versions", type=int, default=5, help="augmented versions of each train photo, drawn anew each epoch; "
        "0 turns augmentation off (default: %(default)s)")  # fmt: skip
    add("--size", type=int, default=512, help="longer side of the network's input, pixels (default: %(default)s)")
    add = parser.add_argument_group("network").add_argument
    add("--dropout", type=float, default=0.0, help="share of feature maps dropped at the coarsest stage; 0 builds no "
        "dropout layer (default: %(default)s)")  # fmt: skip
    add = parser.add_argument_group("optimisation").add_argument
    add("--epochs", type=int, default=EPOCHS, help="passes over all photos and versions (default: %(default)s)")
    add("--batch-size", type=int, default=8, help="photos per step (default: %(default)s)")
    add("--lr", type=float, default=0.003, help="highest learning rate of AdamW (default: %(default)s)")
    add("--dice", type=float, default=1.0, help="weight of the Dice loss (default: %(default)s)")
    add("--bce", type=float, default=1.0, help="weight of binary cross-entropy (default: %(default)s)")
    add = parser.add_argument_group("run").add_argument
    add("--out", type=Path, metavar="RUN", help="run folder (default: runs/DATA-TIME)")
    add("--resume", type=Path, metavar="RUN", help="go on with a run where it stopped; its own arguments hold, only "
        "--data, --device and --workers may change")  # fmt: skip
    add("--workers", type=int, default=2, help="processes that read and augment photos (default: %(default)s)")
    args = parser.parse_args(argv)
    lowest = {"epochs": 1, "batch_size": 1, "size": 32, "versions": 0, "workers": 0, "lr": 1e-9, "dice": 0, "bce": 0}
    for name, bound in lowest.items():
        if not bound <= getattr(args, name) < math.inf:
            parser.error(f"--{name.replace('_', '-')} must be a number of at least {bound}")
    if not args.dice + args.bce:
        parser.error("--dice and --bce cannot both be 0")
    if not 0 <= args.dropout < 1:
        parser.error("--dropout must be at least 0 and below 1")
    return args


def in_words(row, epochs):
    """One line about an epoch."""
    return (
        f"epoch {row['epoch']:3d}/{epochs}  loss {row['train_loss']:.4f} train {row['valid_loss']:.4f} valid  "
        f"valid IoU {row['iou_cracked']:.4f} cracked {row['iou_all']:.4f} all  {row['seconds']:.0f} s"
    )


def open_run(args):
    """(run folder, saved state or None). With --resume the run's own arguments replace the flags. Raises BadInput."""
    if not args.resume:
        folder = args.out or RUNS / f"{Path(args.data or SAMPLE).name}-{datetime.now():%Y%m%d-%H%M%S}"
        if (folder / "last.pt").exists():
            raise BadInput(f"{folder}: holds a run already; go on with --resume {folder} or choose another --out")
        return folder, None
    saved = read_saved(args.resume)
    kept = {"data": args.data or saved["training"]["arguments"]["data"]}
    defaults = arguments([])
    for name, value in to_keep(args).items():
        if name != "data" and value != getattr(defaults, name) and value != saved["training"]["arguments"][name]:
            was, flag = saved["training"]["arguments"][name], name.replace("_", "-")
            raise BadInput(f"--resume {args.resume}: the run was started with --{flag} {was}; leave --{flag} out")
    vars(args).update(saved["training"]["arguments"] | kept | {"splits": args.resume / "splits.json"})
    return args.resume, saved


def read_saved(folder):
    """last.pt of a run that can be resumed. Raises BadInput."""
    if not (folder / "last.pt").is_file():
        raise BadInput(f"--resume {folder}: no last.pt there; give the folder of a run that finished an epoch")
    try:
        saved = read_checkpoint(folder / "last.pt")
    except ValueError as error:
        raise BadInput(f"--resume {error}") from None
    if not saved["training"]:
        raise BadInput(f"--resume {folder}: its last.pt only predicts; a run that can go on wrote more into it")
    return saved


def to_keep(args):
    """The arguments that a resumed run needs, as JSON values."""
    changeable = {"resume", "device", "out", "splits", "workers"}
    return {name: value for name, value in vars(args).items() if name not in changeable}


def commit():
    """Commit id of this code, with "+" where files are changed; "unknown" outside a git checkout."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_facts(folder, args, parts, device):
    """splits.json and arguments.json: what the run was given, by which code on what machine."""
    write_splits(folder / "splits.json", parts)
    facts = to_keep(args) | {"commit": commit(), "torch": torch.__version__, "device": str(device)}
    with written_whole(folder / "arguments.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=1), encoding="utf-8")


def loaders(parts, preprocess, args):
    """(train batches with their augmented versions in shuffled order, validation batches as the photos are)."""
    data = CrackDataset(parts["train"], preprocess, augment, args.versions, args.seed)
    train_batches = loader(data, args.batch_size, args.workers, Shuffled(len(data), args.seed))
    return train_batches, loader(CrackDataset(parts["valid"], preprocess), args.batch_size, 0)


def pace(step, steps):
    """Share of the highest learning rate: rises over the first tenth of the steps, then half a cosine to 0."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * min(1, (step - warm) / max(1, steps - warm))))


def optimisation(model, args, steps, device):
    """AdamW without weight decay (the base model has no regularisation), 10 % warm-up then cosine, loss scaling."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.0)
    schedule = LambdaLR(optimizer, partial(pace, steps=steps))
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")  # float16 gradients would vanish
    return {"optimizer": optimizer, "schedule": schedule, "scaler": scaler}


def save_epoch(folder, model, preprocess, threshold, history, state, args):
    """best.pt if this epoch is the best, then last.pt with all that a resumed run needs, then history and curves."""
    if max(history, key=rank) is history[-1]:
        save_checkpoint(folder / "best.pt", model, asdict(preprocess), threshold)
    training = {name: part.state_dict() for name, part in state.items()}
    training |= {"history": history, "random": torch.get_rng_state(), "arguments": to_keep(args)}
    save_checkpoint(folder / "last.pt", model, asdict(preprocess), threshold, training)
    write_history(folder, history, args)


def restore(saved, model, state):
    """The inverse of `save_epoch`: puts everything back, returns the history."""
    model.load_state_dict(saved["weights"])
    for name, part in state.items():
        part.load_state_dict(saved["training"][name])
    torch.set_rng_state(saved["training"]["random"])
    return saved["training"]["history"]


def introduction(folder, parts, model, args, device):
    """What is about to happen, in three lines."""
    photos = ", ".join(f"{len(p)} {part} ({sum(x.cracked for x in p)} cracked)" for part, p in parts.items())
    return (
        f"{args.data}: {photos}\n"
        f"CrackNet, {parameter_count(model):,} parameters; {args.epochs} epochs of {len(parts['train'])} photos × "
        f"{args.versions + 1} versions on {device}\n"
        f"run folder {folder}; after Ctrl-C, python train.py --resume {folder} goes on from the last finished epoch"
    )


def main(argv=None):
    args = arguments(argv)
    folder, saved = open_run(args)
    device = choose_device(args.device)
    torch.manual_seed(args.seed)

    export = open_data(args.data, args.classes)
    args.data = str(export.root)
    parts = split(export, args.seed, args.splits)
    if not parts["valid"]:
        raise BadInput(f"{export.root}: no validation photo; add photos or give --splits")
    preprocess = Preprocess(size=args.size)
    train_batches, valid_batches = loaders(parts, preprocess, args)

    model = CrackNet(dropout=args.dropout).to(device, memory_format=torch.channels_last)
    state = optimisation(model, args, args.epochs * len(train_batches), device)
    loss_of = partial(dice_bce, dice_weight=args.dice, bce_weight=args.bce)
    history = restore(saved, model, state) if saved else []
    if saved:
        write_history(folder, history, args)  # the run may have been killed before it could
        if not same_photos(folder / "splits.json", export):
            raise BadInput(f"{export.root}: other photos than those of {folder}; give the run's own with --data")
    print(introduction(folder, parts, model, args, device), flush=True)

    for epoch in range(len(history), args.epochs):
        train_batches.sampler.epoch, began = epoch, time.perf_counter()
        row = {"epoch": epoch + 1, "train_loss": train_one_epoch(model, train_batches, loss_of, **state, device=device)}
        scores, threshold = validate(model, valid_batches, preprocess, loss_of, device)
        history.append(row | scores | {"seconds": time.perf_counter() - began})
        if epoch == 0:
            write_facts(folder, args, parts, device)  # not earlier: bad photos would leave half a run behind
        save_epoch(folder, model, preprocess, threshold, history, state, args)
        print(in_words(history[-1], args.epochs), flush=True)
    print(f"best epoch {max(history, key=rank)['epoch']}; next: python evaluate.py {folder}")
    return 0


if __name__ == "__main__":
    execute(main)
