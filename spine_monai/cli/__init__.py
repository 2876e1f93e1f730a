"""The command line: parse, one call, print. Heavy imports wait until a command runs.

Each command has a module here with ``add_to(commands)``. Exit codes, all commands: 0 done; 1 some
cases failed, the rest done; 2 usage or configuration; 3 storage; 75 interrupted, run again.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

from spine_monai import __version__
from spine_monai.cli import (
    convert,
    deidentify,
    demo,
    evaluate,
    export,
    localize,
    pacs,
    series,
    train,
    verify,
)
from spine_monai.cli.codes import DONE, INTERRUPTED, RESEARCH_NOTE, STORAGE, USAGE

COMMANDS = (
    *(localize, series, demo, evaluate, verify, convert, train, export),
    *(pacs, deidentify),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
    _set_up_logging(verbose=options.verbose)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        code = command(options)
        sys.stdout.flush()  # so that a closed pipe is met here, not at exit
        return code
    except (ValueError, FileNotFoundError, ImportError) as error:
        return _fail(error, USAGE)
    except BrokenPipeError:
        return _end_quietly()
    except OSError as error:
        return _fail(error, STORAGE)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="spine-monai",
        description=f"Find the eleven lumbar landmarks on spine MRI. {RESEARCH_NOTE}",
    )
    parser.add_argument("--version", action="version", version=f"spine-monai {__version__}")
    parser.add_argument("--verbose", action="store_true", help="log everything, warnings too")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return parser


def _end_quietly() -> int:
    """Whoever reads our output has seen enough, as `head` has; Python must not complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


def _fail(error: BaseException, code: int) -> int:
    logging.getLogger(__name__).debug("failed", exc_info=error)
    print(f"spine-monai: {error}", file=sys.stderr)
    return code


def _set_up_logging(*, verbose: bool) -> None:
    """Our own log on stderr; other packages only when asked, as they may quote patient data."""
    logging.basicConfig(format="%(message)s", level=logging.INFO if verbose else logging.ERROR)
    logging.getLogger("spine_monai").setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").setLevel(logging.WARNING if verbose else logging.CRITICAL)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
