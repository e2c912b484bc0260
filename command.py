"""What every command shares: flags, exit codes, one clear line for bad input, files written whole or not at all."""

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

PARTS = ("train", "valid", "test")
HALF_WRITTEN = ".half-written-"  # begins the name of a file until it is whole; a killed process may leave one


class BadInput(Exception):
    """Something the user gave is wrong: the message says which file, what is wrong and what to do."""


def in_short(error):
    """What an error of a library says, in one line of at most 100 characters that ends with a whole word."""
    return shorten(str(error), 100)


def number_of(count, noun):
    """1, "photo" -> "1 photo"; 2, "photo" -> "2 photos"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def tally(count, cracked):
    """Photos, those of them with a crack -> in words."""
    return f"{number_of(count, 'photo')}, {cracked} cracked, {count - cracked} undamaged"


@contextlib.contextmanager
def exit_codes():
    """Exit code 2 and one line for bad input, 1 for a failure, 130 after Ctrl-C."""
    try:
        yield
    except BadInput as error:
        # a DataLoader worker puts its own traceback before the message
        message = str(error).rpartition("command.BadInput: ")[2].strip()
        print("error:", " ".join(message.splitlines()), file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # whoever reads what is printed, like `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains once more at its end
        sys.exit(1)
    except OSError as error:  # disk full, folder read-only
        named = error.filename and error.strerror
        print("error:", f"{error.filename}: {error.strerror}" if named else error, file=sys.stderr)
        sys.exit(1)
    except (FloatingPointError, MemoryError) as error:  # a loss that is not finite; a GPU that is too small
        print("error:", error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt as stop:
        print(": ".join(["interrupted", *map(str, stop.args)]), file=sys.stderr)
        sys.exit(130)


def answer_flags(arguments):
    """Parse the flags ahead of the imports that take seconds: --help and a wrong flag are answered at once, and Ctrl-C
    during the imports ends it without a traceback."""
    with exit_codes():
        arguments(sys.argv[1:])
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def execute(main):
    """Run a `main` as a command, with the exit codes above."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # since answer_flags
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with exit_codes():
        sys.exit(main())


def choose_device(name):
    """Name (auto, cuda, mps or cpu) -> torch.device; auto takes the first that is there. Raises BadInput."""
    import torch  # heavy: only once the flags have been understood

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind in there if there[kind])
    if not there[name]:
        raise BadInput(f"--device {name}: not on this machine; leave the flag out")
    return torch.device(name)


def seed(text):
    """A seed that NumPy and PyTorch both take, for argparse."""
    if not 0 <= int(text) < 2**32:
        raise argparse.ArgumentTypeError(f"{text}: a seed is a whole number from 0 to {2**32 - 1}")
    return int(text)


class Parser(argparse.ArgumentParser):
    """Wrong flags are bad input like any other: one line. What is written for --help keeps its lines."""

    def __init__(self, *names, **words):
        super().__init__(*names, **{"formatter_class": argparse.RawDescriptionHelpFormatter} | words)

    def error(self, message):
        left, _, words = message.partition("unrecognized arguments: ")
        if not left and not words.startswith("-") and "--data" in self.format_usage():
            message += "; an export goes after --data"
        raise BadInput(f"{message}; python {self.prog} --help explains the flags")


COMMON = {
    "seed": {"type": seed, "default": 0, "help": "of everything that is drawn at random (default: 0)"},
    "device": {"choices": ("auto", "cuda", "mps", "cpu"), "default": "auto", "help": "where a network runs (default: "
               "the best)"},
}  # fmt: skip


def flags(description, *examples, common=tuple(COMMON)):
    """ArgumentParser with those flags that mean the same everywhere; `examples` stand at the end of its --help."""
    parser = Parser(description=description, epilog="examples:\n  " + "\n  ".join(examples))
    group = parser.add_argument_group("as in every command")
    for name in common:
        group.add_argument(f"--{name}", **COMMON[name])
    return parser


def results_folder(path):
    """The folder, made where it is missing, before any work is done. Raises BadInput."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {path}: cannot be made a folder ({error.strerror}); name another") from None
    return path


@contextlib.contextmanager
def written_whole(path):
    """Gives a temporary path of the same suffix; it takes the place of `path` only if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{HALF_WRITTEN}{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:  # of a full disk, which does not say which file, or names the temporary one
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        with contextlib.suppress(OSError):  # a read-only disk refuses even that; the first error tells
            temporary.unlink(missing_ok=True)


def plain(value):
    """Nested dicts, lists and tuples -> the same with None for nan and inf, which JSON does not have."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path, content):
    """What is undefined is null."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(plain(content), indent=1, allow_nan=False), encoding="utf-8")


FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes a cell that begins with one of these


def csv_cell(value):
    """A value as it stands in a CSV file: None and nan are empty, text that a spreadsheet would compute gets a '."""
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


@contextlib.contextmanager
def signals_noted():
    """Inside, Ctrl-C and SIGTERM only fill the list that this gives, so that what is begun is brought to an end."""
    asked = []

    def note(number, frame):
        if not asked:  # past sys.stderr: it may be in the middle of a line, and cannot be entered twice
            os.write(2, b"\nstopping: saving first ...\n")
        asked.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.signal(number, note) for number in numbers]
    try:
        yield asked
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
