"""Lists the commands and runs them: fashion-jax [COMMAND [ARGUMENTS]], or python -m fashion_jax."""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path

from fashion_jax import __version__
from fashion_jax.command_line import PROGRAMS
from fashion_jax.errors import EXIT_OK, EXIT_USAGE

# command -> its module, and what it does.
COMMANDS = {
    "train": ("main", "trains a classifier; run again on the same workdir, it resumes"),
    "evaluate": ("evaluate", "measures trained runs and compares them"),
    "predict": ("predict", "writes the classes of images into a table"),
    "export": ("export", "writes a trained model for ONNX, TensorFlow, TFLite or StableHLO"),
    "prepare": ("prepare", "decodes a dataset once, for trainings that read it often"),
    "demo": ("demo", "serves a page on which people try a model"),
}
_OTHER_NAMES = {
    "main": "train",
    "fit": "train",
    "test": "evaluate",
    "val": "evaluate",
    "infer": "predict",
    "serve": "demo",
}


def main() -> int:
    """Runs the command that the process's arguments name, or lists the commands; returns the exit status."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return EXIT_OK
    if arguments[0] in ("--version", "-V"):
        print(f"fashion_jax {__version__}")
        return EXIT_OK
    name, *rest = arguments
    if name not in COMMANDS:
        print(f"There is no command {name!r}{_suggestion(name)}", file=sys.stderr)
        return EXIT_USAGE
    # The command reads its name and its arguments there, since the process belongs to it.
    sys.argv = [f"{_program()} {name}", *rest]
    return importlib.import_module(f"fashion_jax.{COMMANDS[name][0]}").main()


def _program() -> str:
    """Returns how the user has started this program."""
    script, module = PROGRAMS
    return script if Path(sys.argv[0]).stem == script else module


def _overview() -> str:
    program = _program()
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {program} COMMAND [ARGUMENTS]",
            "",
            *lines,
            "",
            f"What a command takes: {program} COMMAND --help. For example:",
            f"  {program} train --config mtl --workdir runs/mtl",
        ]
    )


def _suggestion(name: str) -> str:
    """Returns the end of a sentence about an unknown command."""
    if name.startswith("-"):
        return f": name one of {', '.join(COMMANDS)} before the flags."
    close = difflib.get_close_matches(name.lower(), COMMANDS, n=1, cutoff=0.5)
    meant = _OTHER_NAMES.get(name.lower()) or (close[0] if close else "")
    return f"; did you mean {meant}?" if meant else f": name one of {', '.join(COMMANDS)}."


if __name__ == "__main__":
    sys.exit(main())
