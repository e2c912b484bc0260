"""What every command shares: flags, exit codes, one clear line for bad input, files written whole or not at all."""

import argparse
import contextlib
import os
import sys
from pathlib import Path


class BadInput(Exception):
    """Something the user gave is wrong: the message says which file, what is wrong and what to do."""


def execute(main):
    """Run a `main`: exit code 2 and one line for bad input, 1 for a failure, 130 after Ctrl-C."""
    try:
        sys.exit(main())
    except BadInput as error:
        # a DataLoader worker puts its own traceback before the message
        message = str(error).rpartition("command.BadInput: ")[2].strip()
        print("error:", " ".join(message.splitlines()), file=sys.stderr)
        sys.exit(2)
    except (OSError, FloatingPointError) as error:  # disk full, folder read-only, loss not finite
        print("error:", error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


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
    """Wrong flags are bad input like any other: one line."""

    def error(self, message):
        raise BadInput(f"{message}; python {self.prog} --help explains the flags")


def flags(description, *examples):
    """ArgumentParser with the flags that every command has; `examples` stand at the end of its --help."""
    parser = Parser(
        description=description,
        epilog="examples:\n  " + "\n  ".join(examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    machine = parser.add_argument_group("every command")
    machine.add_argument("--seed", type=seed, default=0, help="of everything that is drawn at random (default: 0)")
    machine.add_argument(
        "--device",
        choices=("auto", "cuda", "mps", "cpu"),
        default="auto",
        help="where a network runs (default: the best)",
    )
    return parser


@contextlib.contextmanager
def written_whole(path):
    """Gives a temporary path of the same suffix; it takes the place of `path` only if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
