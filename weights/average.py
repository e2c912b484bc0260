"""Averages the weights of several checkpoints of one network.

    python weights/average.py runs/course/best.pt runs/stage3/best.pt --out runs/average

Networks that were fine-tuned from one another can be averaged weight by weight. The mean often does better on photos
of another kind than either (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models"). Writes best.pt, with the
last checkpoint's preprocessing and threshold, and the last one's splits.json.
"""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that it also runs as a script
import torch

from command import Parser, execute, results_folder
from model import load_checkpoint, save_checkpoint
from runs import Run, run_of


def mean_of(states):
    """[state dict of the same network] -> their mean, each tensor in its own type."""
    mean = {}
    for name, first in states[0].items():
        mean[name] = torch.stack([state[name].float() for state in states]).mean(dim=0).to(first.dtype)
    return mean


def arguments(argv):
    parser = Parser(description=__doc__)
    parser.add_argument("checkpoints", nargs="+", type=Path, help="checkpoints of one network")
    parser.add_argument("--out", type=Path, required=True, help="run folder to write")
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    loaded = [load_checkpoint(path) for path in args.checkpoints]
    model, preprocess, threshold = loaded[-1]
    model.load_state_dict(mean_of([network.state_dict() for network, *_ in loaded]))
    run = Run(results_folder(args.out))
    save_checkpoint(run.best, model, vars(preprocess), threshold)
    shutil.copyfile(run_of(args.checkpoints[-1]).splits, run.splits)


if __name__ == "__main__":
    execute(main)
