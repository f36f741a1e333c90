"""Holds what the benchmarks' command lines share, and describes the code and machine that results come from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fashion_jax.command_line import Overrides, Parser
from fashion_jax.command_line.output_files import check_output
from fashion_jax.errors import UserError


def create_parser(name: str, usage: str, description: str, config: str | None = "configs/mtl.py") -> Parser:
    """Returns a parser with --json and --verbose, and with --config if there is a default config."""
    fields = "[--config FILE] [--config.FIELD=VALUE ...]" if config else ""
    parser = Parser(
        prog=f"python -m benchmarks.{name}",
        usage=" ".join(filter(None, ("%(prog)s", fields, usage, "[--json FILE] [--verbose]"))),
        description=description,
        allow_abbrev=False,
    )
    if config:
        parser.add_argument("--config", metavar="FILE", default=config, help="default: %(default)s")
    parser.add_argument("--json", metavar="FILE", type=Path, help="where to write the result")
    parser.add_argument("--verbose", action="store_true", help="show where an error comes from")
    return parser


def parse(parser: Parser, arguments: list[str], **lows: int) -> tuple[argparse.Namespace, Overrides]:
    """Returns the flags, and the overrides of config fields.

    Args:
        parser: made by `create_parser`.
        arguments: of the command line.
        lows: lowest allowed values of flags, by name.

    Raises:
        UserError: a flag is unknown, or its value is wrong or missing; the file of --json cannot be written.
    """
    flags, overrides = parser.parse(arguments)
    if overrides and not hasattr(flags, "config"):
        parser.error(f"there is no flag '--config.{overrides[0][0]}'")
    for name, low in lows.items():
        if getattr(flags, name) < low:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(flags, name)}, but must be at least {low}.")
    check_output("--json", flags.json)
    return flags, overrides


def origin() -> dict[str, Any]:
    """Returns the commit and the environment that a result comes from, as two fields."""
    from fashion_jax.workdir.environment import environment

    described = environment()
    return {"commit": described.pop("commit"), "environment": described}
