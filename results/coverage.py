"""Does a 95 % interval hold the true mean in 95 % of all test sets? Simulated for Student's t and for the bootstrap.

`python results/coverage.py` prints the tables: a row for each number of photos, a column for each kind of values.
"""

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import metrics
from command import execute, flags, number

COUNTS = (6, 8, 12, 20, 40)  # photos


def one_in_five_missed(rng, size):
    """IoU around 0.7, and 0 where the network finds nothing, as in one photo of five."""
    ious = rng.beta(8, 3, size)
    return np.where(rng.random(size) > 0.2, ious, 0.0)


KINDS = {  # {what: (draw(rng, size) -> values, their true mean)}
    "IoU around 0.5": (lambda rng, size: rng.beta(4, 4, size), 0.5),
    "IoU around 0.8": (lambda rng, size: rng.beta(8, 2, size), 0.8),
    "IoU around 0.3": (lambda rng, size: rng.beta(2, 5, size), 2 / 7),
    "IoU anywhere": (lambda rng, size: rng.random(size), 0.5),
    "difference, normal": (lambda rng, size: rng.normal(0.02, 0.05, size), 0.02),
    "difference, some large": (lambda rng, size: 0.02 + 0.03 * rng.standard_t(3, size), 0.02),
    "difference, lopsided": (lambda rng, size: rng.gamma(2, 0.03, size) - 0.04, 0.02),
    "one photo in five missed": (one_in_five_missed, 0.8 * 8 / 11),
}


def bootstrap(values, rng, draws=1000):
    """The percentile bootstrap, which this project used before: (low, high) of the mean."""
    sample = rng.integers(len(values), size=(draws, len(values)))
    return np.percentile(values[sample].mean(axis=1), [2.5, 97.5])


def student(values, rng):
    """The interval that all pages show."""
    return metrics.interval(values)


def coverage(method, kind, count, simulations):
    """Share of the simulated test sets of `count` photos whose interval holds the true mean."""
    rng = np.random.default_rng(0)
    draw, mean = KINDS[kind]
    hits = 0
    for values in draw(rng, (simulations, count)):
        low, high = method(values, rng)
        hits += low <= mean <= high
    return hits / simulations


def table(name, method, simulations):
    """A Markdown table of the coverage for every number of photos and kind of values."""
    lines = [f"{name}:", "", f"| photos | {' | '.join(KINDS)} |", "| --- " * (len(KINDS) + 1) + "|"]
    for count in tqdm(COUNTS, name, leave=False):
        shares = [f"{coverage(method, kind, count, simulations):.3f}" for kind in KINDS]
        lines.append(f"| {count} | {' | '.join(shares)} |")
    return "\n".join(lines)


def arguments(argv):
    parser = flags(
        "Simulate how often a 95 % interval holds the true mean, for Student's t and the percentile bootstrap.",
        "python results/coverage.py --simulations 4000",
        common=(),
    )
    parser.add_argument(
        "--simulations", type=number(int, 1), default=1500, help="test sets for each cell (default: %(default)s)"
    )
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    print(table("Student's t", student, args.simulations), end="\n\n")
    print(table("Percentile bootstrap", bootstrap, args.simulations))
    return 0


if __name__ == "__main__":
    execute(main)
