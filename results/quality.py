"""How well networks learn in the same training time: CrackNet and others, on one set of photos.

    python results/quality.py --data DIR/deepcrack --minutes 10 --seeds 0 1 2
    python results/quality.py --data DIR/deepcrack --minutes 60 --contenders CrackNet

Minutes are counted in steps: as many as the machine of benchmark.py makes in that time. So trainings may run on any
device and beside other work. Each network is trained with the first seed at both learning rates, or at the better one
if the JSON file knows it already; then CrackNet and the two best others, by validation, with the other seeds.

A finished training is added to the JSON file at once and not repeated. An interrupted one continues where it was last
validated, when the same command is given again. At the end, IoU against training time is drawn beside the JSON file.
"""

import sys
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it runs as a script

from augment import augment
from command import SEED, BadInput, Parser, choose_device, execute, number, write_json, written_whole
from data.split import split
from dataset import SAMPLE, CrackDataset, loader, open_data, workers_ended
from evaluate import Network, score
from formats.photo import Preprocess
from formats.pictures import save_figure
from metrics import best_threshold, summary_at
from results.benchmark import BATCH, SIZE, add_flags, read_results
from results.contenders import CONTENDERS, available
from train import Settings, dice_bce, optimisation, threshold_counts, train_step

RATES = (1e-3, 3e-3)
POINTS = 12  # how often a training is validated, for the curve
UNFINISHED = Path("runs/quality")  # interrupted trainings, to continue
SHOWN = ("iou_cracked", "iou_pooled", "f1_2px", "recall_to_3px", "recall_over_10px")  # on the screen


@dataclass(frozen=True)
class Budget:
    """How long every network may train, and on which input."""

    minutes: float
    size: int  # longer side of the input

    def steps(self, name, results):
        """Training steps that the machine of `cost` and `photos` makes in that time, the loader's share included.

        Both were measured with photos of 512×512; the time is taken to grow with the pixels.
        """
        photo = 1 / results["cost"][name]["training_photos_per_second"] + 1 / results["photos"]["loader"]["loader"]
        return max(1, round(60 * self.minutes / photo / BATCH * (SIZE / self.size) ** 2))

    def key(self, name, rate, seed):
        """The name of a training in the results."""
        return f"{self.called(name)}, {self.minutes:g} min, rate {rate:g}, seed {seed}"

    def called(self, name):
        """Name of the network, with the size where it is not the usual one."""
        if self.size == SIZE:
            return name
        return f"{name} at {self.size}"


def endless(batches, first=0):
    """A loader's batches, epoch after epoch, from the first-th on."""
    order = batches.batch_sampler
    start, order.first = divmod(first, len(order))
    for epoch in count(start):
        order.epoch = epoch
        yield from batches
        order.first = 0


class Training:
    """A network that learns for so many steps with our data, augmentation, loss, precision and schedule.

    It is validated POINTS times, for the curve, and saved then; an interrupted training continues from there.
    """

    def __init__(self, name, parts, size, steps, rate, seed):
        torch.manual_seed(seed)
        self.device = choose_device("auto")
        self.preprocess, self.valid, self.steps = Preprocess(size), parts["valid"], steps
        self.model = CONTENDERS[name]().to(self.device, memory_format=torch.channels_last)
        data = CrackDataset(parts["train"], self.preprocess, augment, 5, seed)
        self.batches = loader(data, BATCH, 2, seed, pin=self.device.type == "cuda")
        self.state = optimisation(self.model, Settings(lr=rate), steps, self.device)
        self.curve = []  # [step, IoU on validation photos at the best threshold]

    def learn(self, saved):
        """All steps, or those that are left according to the file `saved`."""
        if saved.is_file():
            self.load(saved)
        first = self.curve[-1][0] if self.curve else 0
        points = {round(self.steps * (number + 1) / POINTS) for number in range(POINTS)}
        todo = islice(endless(self.batches, first), self.steps - first)
        with workers_ended(self.batches):
            for step, (inputs, masks, _) in enumerate(tqdm(todo, saved.stem, self.steps - first), first + 1):
                self.model.train()
                inputs = inputs.to(self.device, memory_format=torch.channels_last, non_blocking=True)
                train_step(self.state, inputs, masks.to(self.device, non_blocking=True), dice_bce)
                if step in points:
                    self.curve.append([step, self.validated()[0]])
                    self.save(saved)

    def validated(self):
        """(IoU on the validation photos at the best threshold, that threshold)."""
        counts = threshold_counts(self.model, self.preprocess, self.valid)
        threshold = best_threshold(counts)
        return summary_at(counts, threshold)["iou_cracked"], threshold

    def save(self, file):
        """Everything that `load` needs, atomically."""
        content = {"model": self.model.state_dict(), "state": self.state.state_dict(), "curve": self.curve}
        with written_whole(file) as path:
            torch.save(content, path)

    def load(self, file):
        """Continue from what `save` wrote."""
        content = torch.load(file, map_location=self.device, weights_only=True)
        self.model.load_state_dict(content["model"])
        self.state.load_state_dict(content["state"])
        self.curve = content["curve"]


def scores_of(training, test):
    """The scores of a network: on validation photos "valid", the IoU at the best threshold, and that "threshold"; on
    test photos the score sheet "test" with "interval", and with mirror images averaged "flips"."""
    valid, threshold = training.validated()
    network = Network(training.model, training.preprocess, threshold)
    usual = score(test, network, "test photos", "")
    mirrored = score(test, replace(network, flips=True), "mirror images", "")
    interval = usual.interval
    return {"valid": valid, "threshold": threshold, "test": usual.sheet, "interval": interval, "flips": mirrored.sheet}


class Quality:
    """The trainings of one budget on one set: those that the JSON file holds, and new ones, each added at once."""

    def __init__(self, budget, name, parts, file, rates=RATES):
        self.budget, self.name, self.parts, self.file, self.rates = budget, name, parts, file, rates
        self.results = read_results(file)

    @property
    def done(self):
        """{key: scores} of the trainings on this set."""
        return self.results.setdefault("quality", {}).setdefault(self.name, {})

    def train(self, name, rate, seed):
        """The result of this training, from the file or made now."""
        key = self.budget.key(name, rate, seed)
        if key not in self.done:
            steps = self.budget.steps(name, self.results)
            training = Training(name, self.parts, self.budget.size, steps, rate, seed)
            saved = UNFINISHED / f"{self.name}, {key}.pt"
            training.learn(saved)
            about = {"network": self.budget.called(name), "rate": rate, "seed": seed, "minutes": self.budget.minutes}
            about |= {"steps": steps, "device": str(training.device)}
            scores = scores_of(training, self.parts["test"])
            self.results = read_results(self.file)  # another process may have added a training
            self.done[key] = about | scores | {"curve": training.curve}
            write_json(self.file, self.results)
            saved.unlink()
            print(f"{key}: valid {scores['valid']:.3f}, test {scores['test']['iou_cracked']:.3f}", flush=True)
        return self.done[key]

    def rates_to_try(self, name):
        """Learning rates to try: the better one, where the file knows it from a shorter budget or a smaller size."""
        tried = {row["minutes"] for row in self.done.values()}
        shorter = [minutes for minutes in tried if (minutes, SIZE) < (self.budget.minutes, self.budget.size)]
        for minutes in sorted(shorter, reverse=True):
            known = {rate: self.done.get(Budget(minutes, SIZE).key(name, rate, 0)) for rate in self.rates}
            if all(known.values()):
                valid = {rate: result["valid"] for rate, result in known.items()}
                return [max(valid, key=valid.get)]
        return self.rates

    def compare(self, names, seeds):
        """Train all networks with the first seed, CrackNet and the two best others with all; prints their means."""
        rates, valid = {}, {}
        for name in names:
            tried = {rate: self.train(name, rate, seeds[0])["valid"] for rate in self.rates_to_try(name)}
            rates[name] = max(tried, key=tried.get)
            valid[name] = tried[rates[name]]
        others = sorted(valid.keys() - {"CrackNet"}, key=valid.get)
        for name in valid:
            every = seeds if name == "CrackNet" or name in others[-2:] else seeds[:1]
            self.report(name, rates[name], [self.train(name, rates[name], seed) for seed in every])

    def report(self, name, rate, found):
        """One line about a network: the means of its seeds."""
        # null in the JSON file, where no crack is of that width, becomes nan
        means = {key: np.array([row["test"][key] for row in found], float).mean() for key in SHOWN}
        ious = [row["test"]["iou_cracked"] for row in found]
        print(
            f"{self.budget.called(name):24} {self.budget.minutes:g} min, {found[0]['steps']} steps, rate {rate:g}, "
            f"{len(found)} seeds: {', '.join(f'{key} {value:.3f}' for key, value in means.items())}; "
            f"spread of iou_cracked {max(ious) - min(ious):.3f}",
            flush=True,
        )


def minutes_of(row):
    """A result -> its curve as (minutes of training, IoU)."""
    steps, ious = zip(*row["curve"], strict=True)
    return np.array(steps) / row["steps"] * row["minutes"], ious


def better_rate(rows):
    """Results of one network -> those at its better learning rate, by validation, for each training time."""
    best = {}
    for row in rows:
        if row["valid"] >= best.get(row["minutes"], row)["valid"]:
            best[row["minutes"]] = row
    return [row for row in rows if row["rate"] == best[row["minutes"]]["rate"]]


def draw(file, name, done):
    """IoU against training time: a line a network on the validation photos, of its longest training; on test photos a
    dot for each training."""
    chosen = {}
    for network in {row["network"] for row in done.values() if row.get("curve")}:
        chosen[network] = better_rate([row for row in done.values() if row["network"] == network])
    longest = {network: max(rows, key=lambda row: row["minutes"]) for network, rows in chosen.items()}
    fig = Figure((8, 5), layout="constrained")
    axes = fig.subplots()
    for color, network in enumerate(sorted(longest, key=lambda each: -longest[each]["valid"])):
        minutes, ious = minutes_of(longest[network])
        axes.plot(minutes, ious, marker=".", color=f"C{color}", label=network)
        scores = [row["test"]["iou_cracked"] for row in chosen[network]]
        axes.plot([row["minutes"] for row in chosen[network]], scores, "D", color=f"C{color}", markeredgecolor="black")
    axes.plot([], [], "D", color="white", markeredgecolor="black", label="on test photos, at the end of a training")
    axes.set(xlabel="minutes of training on 2 cores", ylabel="iou_cracked, validation photos", ylim=(0, None))
    axes.set_title(f"{name}: IoU against training time")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    save_figure(file.with_name(f"quality-{name}.png"), fig)


# ---------------------------------------------------------------------------------------------- command


def arguments(argv):
    parser = Parser("results/quality.py", description=__doc__)
    add_flags(parser)
    add = parser.add_argument
    add("--splits", metavar="FILE", help="splits.json (default: as train.py splits)")
    add("--minutes", type=number(float, above=0), default=10, help="training time (default: %(default)s)")
    add("--size", type=number(int, 32), default=SIZE, help="longer side of the input (default: %(default)s)")
    add(
        "--rates",
        type=number(float, above=0),
        nargs="+",
        default=RATES,
        help="learning rates that each network may choose from, by validation (default: 0.001 0.003)",
    )
    add("--seeds", type=SEED, nargs="+", default=[0], help="random seeds (default: 0)")
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    if not {"cost", "photos"} <= read_results(args.json).keys():
        raise BadInput(f"{args.json}: does not say how many steps a machine makes; run benchmark.py cost and photos")
    parts = split(open_data(args.data), 0, args.splits)
    name = Path(args.splits or args.data or SAMPLE).stem  # of the set, in the JSON file
    quality = Quality(Budget(args.minutes, args.size), name, parts, args.json, args.rates)
    quality.compare(available(args.contenders), args.seeds)
    draw(args.json, name, quality.done)
    return 0


if __name__ == "__main__":
    execute(main)
