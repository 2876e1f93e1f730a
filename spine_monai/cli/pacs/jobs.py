"""``spine-monai pacs status``, ``retry`` and ``drain``."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from spine_monai.cli.codes import DONE, SOME_FAILED
from spine_monai.cli.pacs.configuration import add_config
from spine_monai.cli.pacs.serve import ended_by

if TYPE_CHECKING:
    from spine_monai.pacs.config import PacsConfig, Serve
    from spine_monai.pacs.node.jobs import Overview


def add_to(commands: Any) -> None:
    """Add the commands to the parser."""
    status = commands.add_parser(
        "status",
        help="what the node has done, and what went wrong",
        description="Count studies and results by state, and name each one that failed, is set "
        "aside or could not be sent. Exit code 1 if a study failed or a result is refused.",
    )
    add_config(status)
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(command=_status)
    retry = commands.add_parser("retry", help="do failed studies again, and send results again")
    add_config(retry)
    which = retry.add_mutually_exclusive_group(required=True)
    which.add_argument("references", nargs="*", default=[], metavar="REFERENCE", help="of a study")
    which.add_argument("--all", action="store_true", help="all that failed or are set aside")
    retry.set_defaults(command=_retry)
    drain = commands.add_parser(
        "drain",
        help="finish what is quiet, send what waits, take nothing new, end",
        description="If a node serves the folder, it is asked to, and waited for.",
    )
    add_config(drain)
    drain.set_defaults(command=_drain)


def _read(options: argparse.Namespace) -> "tuple[PacsConfig, Serve]":
    from spine_monai.pacs.config_file import part_of, read_config

    config = read_config(options.config)
    return config, part_of(config, "serve", options.config)


def _status(options: argparse.Namespace) -> int:
    from spine_monai.pacs.node.jobs import overview

    _, settings = _read(options)
    found = overview(settings.folder)
    print(json.dumps(found.content, indent=1) if options.json else _in_words(found))
    return _code(found)


def _retry(options: argparse.Namespace) -> int:
    from spine_monai.pacs.node.jobs import retry

    _, settings = _read(options)
    count = retry(settings.folder, None if options.all else options.references)
    print(f"{count} studies wait again")
    return DONE


def _drain(options: argparse.Namespace) -> int:
    from spine_monai.pacs.node.jobs import ask_to_drain, overview

    config, settings = _read(options)
    if not ask_to_drain(settings.folder):
        code = _drain_here(config, settings)
        if code:
            ended_by(code)
    found = overview(settings.folder)
    print(_in_words(found))
    return SOME_FAILED if found.results.get("waiting") else _code(found)


def _drain_here(config: "PacsConfig", settings: "Serve") -> int:
    from dataclasses import replace

    from spine_monai.pacs.node.log import set_up_log
    from spine_monai.pacs.node.serving import Plan, run_node
    from spine_monai.pacs.node.watching import plan_of
    from spine_monai.pacs.remote import open_remote

    set_up_log()
    if config.watch is not None and settings.send_to is None:
        plan = replace(plan_of(config, settings, config.watch), make_source=None)
    else:
        plan = Plan(settings, None, settings.send_to, lambda name: open_remote(config, name))
    return run_node(plan, drain=True)


def _code(found: "Overview") -> int:
    is_refused = any(parcel.state == "refused" for parcel in found.unsent)
    return SOME_FAILED if found.troubled or is_refused else DONE


def _in_words(found: "Overview") -> str:
    lines = [f"served: {'yes' if found.is_served else 'no'}"]
    for name in ("studies", "results", "faults"):
        counts = getattr(found, name)
        told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        lines.append(f"{name}: {told or 'none'}")
    lines += [f"{one.state} {one.reference}: {one.reason}" for one in found.troubled]
    lines += [
        f"{one.state} {one.reference} {one.file.name} for {one.remote}: {one.reason}"
        for one in found.unsent
    ]
    return "\n".join(lines)
