"""The folders in checkpoints/: one per step, named by its plain number. Imports nothing heavy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from fashion_jax.errors import RunError, UserError

ASIDE = "damaged"  # the folder of steps that cannot be used


def list_steps(directory: Path) -> list[int]:
    """Returns the steps that have an entry in `directory`, usable or not, in ascending order.

    Raises:
        UserError: the directory cannot be read.
    """
    return sorted(int(name) for name in _names(directory) if _is_step_name(name))


def check_names(directory: Path) -> list[str]:
    """Returns names in `directory` that Python reads as numbers but that are not a step's plain number, such as 0100.

    Raises:
        UserError: there are such names and no step, so that a start would begin anew beside earlier checkpoints.
    """
    strange = sorted(name for name in _names(directory) if _is_number(name) and not _is_step_name(name))
    if strange and not list_steps(directory):
        raise UserError(
            f"{directory / strange[0]} is not named as the checkpoint of a step is: name it {int(strange[0])}, or "
            "remove it to start from the beginning."
        )
    return strange


def has_step(directory: Path) -> bool:
    """Returns whether `directory` holds a folder that is named like a step."""
    try:
        return any(_is_step_name(name) and not obstacle(directory / name) for name in os.listdir(directory))
    except OSError:
        return False


def obstacle(folder: Path) -> str:
    """Returns why `folder` cannot be the folder of a step, in words; empty if it can."""
    if folder.is_symlink():
        return "it is a link, not a folder"
    return "" if folder.is_dir() or not folder.exists() else "it is a file, not a folder"


def set_aside(directory: Path, steps: Iterable[int]) -> None:
    """Moves the entries of `steps` to a subfolder, where they do not get in the way of new checkpoints.

    Raises:
        RunError: they cannot be moved.
    """
    aside = directory / ASIDE
    try:
        aside.mkdir(exist_ok=True)
        for step in steps:
            target = aside / str(step)
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            (directory / str(step)).rename(target)
    except OSError as error:
        raise RunError(
            f"Checkpoints in {directory} that cannot be used could not be moved to {aside} ({error}): remove the steps "
            f"{', '.join(map(str, steps))} yourself and run the same command again."
        ) from error


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{directory} cannot be read ({error}): make it a readable folder.") from error


def _is_number(name: str) -> bool:
    try:
        int(name)
    except ValueError:
        return False
    return True


def _is_step_name(name: str) -> bool:
    return name.isascii() and name.isdigit() and str(int(name)) == name
