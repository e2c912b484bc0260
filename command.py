"""What every command shares: common flags, exit codes, one clear line for bad input, files written atomically."""

import argparse
import contextlib
import csv
import json
import math
import os
import signal
import sys
from pathlib import Path
from textwrap import shorten

ROOT = Path(__file__).resolve().parent
SAMPLE = ROOT / "data" / "sample"  # the drawn export that commands take where none is given
PARTS = ("train", "valid", "test")
FEW = 20  # for up to this many photos, each gets a line on the screen and a figure, which takes a second
HALF_WRITTEN = ".half-written-"  # prefix of a file that is still being written; a killed process may leave one behind


class BadInput(Exception):
    """The user's input is wrong. The message names the file, says what is wrong and what to do."""


def in_short(error):
    """The text of a library's error on one line of at most 100 characters, cut between words."""
    return shorten(str(error), 100)


def quoted(value):
    """A value from a stranger's file in quotes, at most 80 letters of it."""
    return f"{value!r:.80}"


def last_letters(name, most):
    """A name of at most `most` letters: its end, which tells photos of one phone apart, after two dots."""
    return name if len(name) <= most else f"..{name[2 - most :]}"


def number_of(count, noun):
    """1, "photo" -> "1 photo"; 2, "photo" -> "2 photos"."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun}s"


def some(names, most=8):
    """Names as words: all of them up to `most`, else the first ones "and 57 more"."""
    names = list(names)
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def tally(count, cracked):
    """10 photos, 8 of them cracked -> "10 photos, 8 cracked, 2 undamaged"."""
    return f"{number_of(count, 'photo')}, {cracked} cracked, {count - cracked} undamaged"


@contextlib.contextmanager
def exit_codes():
    """Turns an exception into one line on stderr and an exit code: 2 for bad input, 1 for a failure, 130 for Ctrl-C."""
    try:
        yield
    except BadInput as error:
        # a DataLoader worker sends its error as text, with its own traceback in front of the message
        message = str(error).rpartition("command.BadInput: ")[2].strip()
        fail(2, "error:", " ".join(message.splitlines()))
    except BrokenPipeError:  # the reader of our output, like `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again when it exits
        sys.exit(1)
    except OSError as error:  # disk full, folder read-only
        if error.filename and error.strerror:
            fail(1, "error:", f"{error.filename}: {error.strerror}")
        fail(1, "error:", error)
    except (FloatingPointError, MemoryError) as error:  # a loss that is not finite; a GPU that is too small
        fail(1, "error:", error)
    except KeyboardInterrupt as stop:
        fail(130, ": ".join(["interrupted", *map(str, stop.args)]))


def fail(code, *words):
    """Print the words on stderr and exit with this code."""
    print(*words, file=sys.stderr)
    sys.exit(code)


def execute(main):
    """Run a `main` as a command, with the exit codes above."""
    with exit_codes():
        sys.exit(main())


def choose_device(name):
    """auto, cuda, mps or cpu -> torch.device; auto is the first of the three that this machine has. Raises BadInput."""
    import torch  # here, so that photos and labels can be read, checked and converted without torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind in available if available[kind])
    if not available[name]:
        raise BadInput(f"--device {name}: not on this machine; leave the flag out")
    return torch.device(name)


def number(kind, at_least=-math.inf, at_most=math.inf, above=-math.inf, below=math.inf):
    """int or float, and limits -> the `type` of a flag of argparse: makes its text a number within the limits."""
    limits = {"at least": at_least, "at most": at_most, "above": above, "below": below}
    words = " and ".join(f"{name} {limit}" for name, limit in limits.items() if math.isfinite(limit))
    noun = "whole number" if kind is int else "number"

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (at_least <= value <= at_most and above < value < below):  # also refuses nan and inf
            raise argparse.ArgumentTypeError(f"{text}: must be a {noun} {words}".rstrip())
        return value

    return parse


SEED = number(int, 0, below=2**32)  # what NumPy and PyTorch both take
PROBABILITY = number(float, 0, at_most=1)


def script_name():
    """The running script as our pages write it: "train.py", "data/merge.py"."""
    path = Path(sys.argv[0]).resolve()
    if path.is_relative_to(ROOT):
        return path.relative_to(ROOT).as_posix()
    return path.name


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that treats a wrong flag like other bad input: one line. --help keeps the given line breaks."""

    def __init__(self, prog=None, **settings):
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(prog or script_name(), **settings)

    def parse_args(self, args=None, namespace=None):
        values, unknown = self.parse_known_args(args, namespace)
        if unknown:
            hint = ""
            if not unknown[0].startswith("-") and "--data" in self._option_string_actions:
                hint = "; an export goes after --data"
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return values

    def error(self, message):
        raise BadInput(f"{message}; python {self.prog} --help explains the flags")


COMMON = {  # flags that mean the same in every command that has them
    "seed": {"type": SEED, "default": 0, "help": "random seed (default: %(default)s)"},
    "device": {
        "choices": ("auto", "cuda", "mps", "cpu"),
        "default": "auto",
        "help": "device for the network (default: the fastest available)",
    },
    "classes": {
        "nargs": "+",
        "metavar": "NAME",
        "help": "all category names that count as crack (default: any spelling)",
    },
    "flips": {
        "action": "store_true",
        "help": "average over the photo and its three mirror images; takes 4 times as long",
    },
}


def flags(description, *examples, common=("seed", "device")):
    """A Parser with the flags that mean the same in every command; its --help ends with the `examples`."""
    parser = Parser(description=description, epilog="examples:\n  " + "\n  ".join(examples))
    group = parser.add_argument_group("common options")
    for name in common:
        group.add_argument(f"--{name}", **COMMON[name])
    return parser


def add_network_flags(parser, out):
    """The flags of the commands that run the network on photos; out: their folder for the results, if none is given."""
    network = parser.add_argument
    network(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="best.pt or run folder (default: newest run, else the shipped weights/crack.pt)",
    )
    network("--out", type=Path, default=Path(out), metavar="FOLDER", help="folder for results (default: %(default)s)")
    network(
        "--threshold",
        type=PROBABILITY,
        metavar="P",
        help="probability from which a pixel is crack (default: the one chosen on the validation photos)",
    )
    network(
        "--scale",
        type=number(float, above=0, at_most=4),
        metavar="FACTOR",
        help="run at FACTOR × full resolution (default: at the training's --size, at half of it for wide cracks, and "
        "for large photos also at twice it)",
    )
    network("--flips", **COMMON["flips"])
    network("--figures", action="store_true", help=f"write a figure for each photo, even for more than {FEW} photos")


def results_folder(path):
    """Create the folder for results if it is missing, before any work is done; returns it. Raises BadInput."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):  # the path itself, or a folder above it
        raise BadInput(f"--out {path}: is a file, not a folder; name another") from None
    except OSError as error:
        raise BadInput(f"--out {path}: cannot be made a folder ({error.strerror}); name another") from None
    return path


@contextlib.contextmanager
def written_whole(path):
    """Write a file atomically: yields a temporary path, which replaces `path` only if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{HALF_WRITTEN}{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:  # a full disk names no file, or the temporary one
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        with contextlib.suppress(OSError):  # fails on a read-only disk, too; the first error is the one to report
            temporary.unlink(missing_ok=True)


def plain(value):
    """Nested dicts, lists and tuples -> the same with None for nan and inf, which JSON does not have."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path, content):
    """Write the content as JSON, atomically; nan and inf become null."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(plain(content), indent=1, allow_nan=False), encoding="utf-8")


FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes a cell that begins with one of these


def csv_cell(value):
    """A value as it is written to a CSV file: None and nan are empty, and text that looks like a formula gets a '."""
    if value is None:
        return ""
    if isinstance(value, float):
        return value if math.isfinite(value) else ""
    if not isinstance(value, str) or not value.startswith(FORMULA_SIGNS):
        return value
    try:
        float(value)  # "-3.5" is a number, not a formula
    except ValueError:
        return f"'{value}"
    return value


def write_csv(path, columns, rows):
    """Column names, rows of cells in their order -> CSV file, atomically.

    It begins with a byte-order mark, by which Excel knows that it is UTF-8: read it with encoding="utf-8-sig".
    """
    with written_whole(path) as temporary, open(temporary, "w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([csv_cell(value) for value in row])


def read_csv(path):
    """CSV file, with or without a byte-order mark -> {column: text} of each row. Raises OSError, csv.Error."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


@contextlib.contextmanager
def signals_noted():
    """Inside, Ctrl-C and SIGTERM only add to the list that this yields, so that the current step can be finished."""
    asked = []

    def note(number, frame):
        if not asked:  # not by print: a signal may arrive while print is running, and it must not be entered twice
            os.write(2, b"\nstopping: saving first ...\n")
        asked.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.signal(number, note) for number in numbers]
    try:
        yield asked
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
