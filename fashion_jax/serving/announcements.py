"""Says what has come of predicting many inputs: how many have a prediction, how sure, how fast, and what is missing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fashion_jax.command_line.formats import rate
from fashion_jax.errors import UserError
from fashion_jax.scoring.calibration import UNSURE
from fashion_jax.serving.parts import Part, Shard
from fashion_jax.terminal import Terminal

if TYPE_CHECKING:
    from fashion_jax.scoring.calibration import Abstention
    from fashion_jax.serving.classifier import Answer, Classifier
    from fashion_jax.serving.explaining import Explained
    from fashion_jax.serving.tally import Tally


def say_begun(folder: Path, parts: Sequence[Part]) -> None:
    """Says which parts are written anew."""
    for part in parts:
        if part.grows_from:
            Terminal().say(
                f"{folder / part.name} has {_rows(part.grows_from)} and is written anew with {part.count:,}, since "
                "inputs have been added."
            )


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def warn(text: str) -> None:
    """Prints a warning on standard error."""
    Terminal(sys.stderr).say(text)


def pace_words(tally: Tally) -> str:
    """Says how fast this process has predicted, or if that is not known, how long it took."""
    return f"{rate(tally.speed)} images/s" if tally.speed else f"Predicting took {tally.seconds:.1f} s"


def say_predicted(tally: Tally, classifier: Classifier, path: Path, pace: str) -> None:
    """Prints what was predicted, at which pace, and how.

    Args:
        tally: counts the answers.
        classifier: has given them.
        path: where they are.
        pace: in words; "" if nothing was predicted now.
    """
    decider = classifier.decider
    say = Terminal().say
    said = f"{path}: {tally.predicted:,} {'prediction' if tally.predicted == 1 else 'predictions'}."
    say(f"{said} {pace}." if pace else said)
    if tally.first_failed:
        files = "1 file has" if tally.failed == 1 else f"{tally.failed:,} files have"
        example = f"{tally.first_failed.path} ({tally.first_failed.error})"
        say(f"{files} no prediction, such as {example}: the column error has the reasons.")
    if not tally.predicted:
        return
    if classifier.engine.decode is None:
        share = f"{tally.contradictions / tally.predicted:.2%}"
        say(f"Decode: {decider.how}. Each level by itself would contradict another on {share} of the images.")
    if decider.abstention:
        say(_answered_words(decider.abstention, tally))


def check_any(tally: Tally, path: Path, parts: Sequence[Part] = ()) -> None:
    """Checks that an input has a prediction.

    Args:
        tally: counts the answers.
        path: where they are.
        parts: of the folder that holds them; those that earlier versions have written are not counted.

    Raises:
        UserError: none has.
    """
    if tally.predicted or not tally.first_failed or tally.count < sum(part.count for part in parts):
        return
    first, others = tally.first_failed, tally.failed - 1
    found = f"{first.path} is no image that can be predicted ({first.error})"
    if others:
        found += f", nor is any of the {others:,} other files" if others > 1 else ", nor is the other file"
    raise UserError(
        f"{found}: name images, or folders or zips of them. {path} has a row for each file, with the reason."
    )


def _answered_words(abstention: Abstention, tally: Tally) -> str:
    """Says how many images were answered at which level, and from which probability on."""
    parts = []
    for level, answered in reversed(tally.answered.items()):
        threshold = abstention.thresholds[level]
        bound = f"probability at least {threshold:.4g}" if threshold <= 1 else "no threshold is high enough"
        parts.append(f"{answered:,} at {level} ({bound})")
    unsure = tally.predicted - sum(tally.answered.values())
    images = "1 image" if tally.predicted == 1 else f"{tally.predicted:,} images"
    return f"Answers for {images}: {', '.join(parts)}, {unsure:,} not at all ({UNSURE})."


def say_explained(explained: Explained, folder: Path, count: int) -> None:
    """Prints how many heat maps a folder has."""
    said = f"{folder}: what speaks for the classes of {count:,} of {explained.predicted:,} images"
    Terminal().say(f"{said}, drawn from {explained.source}.")


def say_parts(folder: Path, parts: Sequence[Part], missing: Sequence[Part], shard: Shard) -> None:
    """Prints how much of a job is done, and which shards have still to be run."""
    rows = sum(part.count for part in parts)
    whole = f"{_rows(rows)} in {len(parts):,} {'part' if len(parts) == 1 else 'parts'}"
    if not missing:
        Terminal().say(f"{folder} is complete: {whole}.")
        return
    there = rows - sum(part.count for part in missing)
    numbers = sorted({part.number % shard.total + 1 for part in missing})
    shards = ", ".join(str(Shard(number, shard.total)) for number in numbers)
    lacking = "1 part is missing, that" if len(missing) == 1 else f"{len(missing):,} parts are missing, those"
    Terminal().say(f"{folder} has {there:,} of {whole}. {lacking} of --shard {shards}.")


def say_failed_before(tally: Tally, first: Answer, folder: Path) -> None:
    """Prints that parts of earlier starts have rows without a prediction; `first` is the first of them."""
    have = "1 row has" if tally.failed == 1 else f"{tally.failed:,} rows have"
    Terminal().say(
        f"{have} no prediction; the first is that of {first.path} ({first.error}), and the column error has the "
        f"reason. To try again, remove the files in {folder} that have such rows, and run the same command again."
    )


def say_nothing_left(shard: Shard) -> None:
    """Prints that a shard is done."""
    Terminal().say(f"Shard {shard} has no part left to do.")
