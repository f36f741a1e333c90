"""Predicts many inputs, as the flags of the predict command ask: into one table, or as the parts of a folder."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fashion_jax.command_line import Overrides
from fashion_jax.command_line.output_files import folder_of_flag, output
from fashion_jax.config.loading import OF_PIXELS, load_run_config, named_cache_dir
from fashion_jax.data.sources.inputs import STDIN, Inputs
from fashion_jax.data.sources.walk import JOB_LOCK, lock_of_shard
from fashion_jax.errors import UserError
from fashion_jax.serving.announcements import (
    check_any,
    pace_words,
    say_begun,
    say_explained,
    say_failed_before,
    say_nothing_left,
    say_parts,
    say_predicted,
    warn,
)
from fashion_jax.serving.exports.folder import is_export
from fashion_jax.serving.loading import check_model
from fashion_jax.serving.parts import (
    Part,
    Shard,
    check_settings,
    digest_of_inputs,
    find_parts,
    is_parts_folder,
    missing_parts,
    part_size_in,
    write_parts,
)
from fashion_jax.serving.predictor import Predictor, load_predictor, settings
from fashion_jax.serving.shared_parts import (
    agreed_part_size,
    join_parts,
    pace_of_all,
    parts_beside,
    plan_parts,
    wait_for_parts,
)
from fashion_jax.serving.sharing import ProcessIndex, check_folder, check_same, shared
from fashion_jax.serving.table_files import write_table
from fashion_jax.terminal import doing, silent
from fashion_jax.workdir.files import check_has_checkpoint
from fashion_jax.workdir.lock import locked
from fashion_jax.workdir.paths import config_path

if TYPE_CHECKING:
    from fashion_jax.serving.answers import Answer
    from fashion_jax.serving.classifier import Classifier
    from fashion_jax.serving.explaining import Explained


def check_overrides(overrides: Overrides) -> None:
    """Checks that the overrides of fields say nothing of the data that a run was trained on.

    Raises:
        UserError: one does.
    """
    for field, _ in overrides:
        if field.startswith("data.") and field not in (*OF_PIXELS, "data.cache_dir"):
            raise UserError(f"{field} is of the data of a training, but predict reads --input: leave it out.")


def predict(flags: argparse.Namespace, overrides: Overrides) -> None:
    """Predicts, and prints what has come of it.

    Args:
        flags: of the predict command, checked.
        overrides: of fields of the run's config, checked by `check_overrides`.

    Raises:
        UserError: there is no model or no input, one cannot be used, or no input has a prediction.
        RunError: none of the run's checkpoints can be used, or another process of a job is missing or has failed.
    """
    with _listed(flags) as listed:
        with shared(flags, lambda: _inputs(flags, overrides, listed)) as (place, inputs):
            if place.count > 1:
                with silent(not place.leads):
                    done = _predict_share(flags, overrides, inputs, place)
            elif is_parts_folder(flags.output):
                _predict_parts(flags, overrides, inputs)
            else:
                with folder_of_flag("--explain", flags.explain):
                    _predict_table(flags, overrides, inputs)
        if place.count > 1 and place.leads:
            _say_shared(done, Path(flags.output))


def _inputs(flags: argparse.Namespace, overrides: Overrides, listed: Any) -> Inputs:
    """Returns what --input names; checks quickly that there is the model asked for, and something to predict."""
    cache_dir = _cache_dir(flags.workdir, overrides)
    asked = {name: getattr(flags, name) for name in ("checkpoint", "decode", "precision", "costs")}
    check_model(flags.workdir, overrides, **asked)
    inputs = Inputs(flags.input, cache_dir, flags.column, listed)
    if not inputs.any_exists:
        raise _nothing(flags)
    return inputs


def _cache_dir(workdir: Path, overrides: Overrides) -> str:
    """Returns the cache that the overrides name; checks quickly that there is a model.

    Raises:
        UserError: there is none, or a field has a wrong value.
    """
    if is_export(workdir):
        return named_cache_dir(overrides)
    config = load_run_config(config_path(workdir), overrides)
    check_has_checkpoint(workdir)
    return str(config.data.cache_dir)


@contextlib.contextmanager
def _listed(flags: argparse.Namespace) -> Iterator[Any]:
    """Yields the list of paths that STDIN stands for, or None; one that can be read again if that is needed."""
    if STDIN not in flags.input or sys.stdin is None:
        yield None
    elif not (is_parts_folder(flags.output) or flags.distributed) or sys.stdin.buffer.seekable():
        yield sys.stdin.buffer
    else:
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
            yield copy


def _nothing(flags: argparse.Namespace) -> UserError:
    return UserError(f"--input is {' '.join(flags.input)}, where there are no files: name images or their folder.")


def _predict_table(flags: argparse.Namespace, overrides: Overrides, inputs: Inputs) -> None:
    """Writes the one table of the inputs, and the heat maps of --explain."""
    total = 0
    if not inputs.is_read_once:
        with doing("Listing the images"):
            total = inputs.count()
        if not total:
            raise _nothing(flags)
    predictor, path = load_predictor(flags, overrides), Path(flags.output)
    explained = _explained(flags, predictor.classifier)
    with output(path) as file, doing("Predicting", total, "images") as task:
        answers = predictor.answers(explained.followed(inputs) if explained else inputs, task)
        answers = _at_least_one(explained.kept(answers) if explained else answers, flags)
        rows = map(predictor.table.row, answers)
        write_table(file, predictor.table.columns, rows, predictor.table.metadata, suffix=path.suffix)
    check_any(predictor.tally, path)
    say_predicted(predictor.tally, predictor.classifier, path, pace_words(predictor.tally))
    if explained:
        say_explained(explained, flags.explain, explained.write(flags.explain, flags.batch_size))


def _at_least_one(answers: Iterator[Answer], flags: argparse.Namespace) -> Iterator[Answer]:
    """Yields the answers; raises a UserError if there are none, so that no table is written."""
    first = next(answers, None)
    if first is None:
        raise _nothing(flags)
    yield first
    yield from answers


def _explained(flags: argparse.Namespace, classifier: Classifier) -> Explained | None:
    if not flags.explain:
        return None
    from fashion_jax.serving.engine import RunEngine
    from fashion_jax.serving.explaining import Explained

    assert isinstance(classifier.engine, RunEngine)
    return Explained(classifier.engine.trained)


def _predict_parts(flags: argparse.Namespace, overrides: Overrides, inputs: Inputs) -> None:
    """Writes the parts of the inputs that this process has to, and says which are missing."""
    folder, shard = Path(flags.output), flags.shard or Shard()
    lock = lock_of_shard(shard.number, shard.total)
    with (
        folder_of_flag("--output", folder),
        locked(folder, warn, "--output", f"is predicting shard {shard}", lock),
    ):
        size = part_size_in(folder, flags.part_size)
        with doing("Listing the images"):
            parts = find_parts(inputs, folder, size)
        if not parts:
            raise _nothing(flags)
        predictor = load_predictor(flags, overrides)
        digest = check_settings(folder, settings(flags, overrides, predictor.classifier, size))
        mine = [part for part in parts if shard.has(part.number) and not part.is_done]
        say_begun(folder, mine)
        with doing("Predicting", sum(part.count for part in mine), "images") as task:
            write_parts(folder, mine, inputs, predictor.part_answers(task), predictor.table, digest)
        (folder / lock).unlink(missing_ok=True)
    missing = missing_parts(folder, parts)
    if not missing:
        tally = predictor.tally_of(folder, parts)
        check_any(tally, folder, parts)
        if tally.first_failed and not mine:
            say_failed_before(tally, tally.first_failed, folder)
    if mine:
        say_predicted(predictor.tally, predictor.classifier, folder, pace_words(predictor.tally))
    else:
        say_nothing_left(shard)
    say_parts(folder, parts, missing, shard)


class _Shared(NamedTuple):
    """What several processes have predicted together.

    Attributes:
        predictor: of this process, with the counts of the answers of all parts.
        pace: of this start, in words.
        parts: all of them; empty if they have become one table.
    """

    predictor: Predictor
    pace: str
    parts: Sequence[Part]


def _predict_share(flags: argparse.Namespace, overrides: Overrides, inputs: Inputs, place: ProcessIndex) -> _Shared:
    """Predicts this process's share of the parts, while others predict theirs; process 0 joins them to one table."""
    folder = Path(flags.output) if is_parts_folder(flags.output) else parts_beside(Path(flags.output))
    with folder_of_flag("--output", folder if place.leads else None), _locked_by_first(folder, place):
        check_folder(place, "--output", folder)
        size = part_size_in(folder, flags.part_size, usual=0)
        with doing("Listing the images"):
            count, digest = digest_of_inputs(inputs)
        check_same({"number of inputs": f"{count:,}", "digest of the names of the inputs": digest[:12]})
        if not count:
            raise _nothing(flags)
        predictor = load_predictor(flags, overrides)
        size = agreed_part_size(size, count, place, predictor.classifier.batch_size)
        plan = plan_parts(inputs, folder, settings(flags, overrides, predictor.classifier, size), place)
        if place.leads:
            say_begun(folder, plan.parts)
        with doing("Predicting", sum(part.count for part in plan.mine), "images") as task:
            write_parts(folder, plan.mine, inputs, predictor.part_answers(task), predictor.table, plan.settings)
        pace = pace_of_all(predictor.tally)
        if place.leads:
            predictor = _joined(predictor, folder, plan.parts, flags)
    return _Shared(predictor, pace, plan.parts if is_parts_folder(flags.output) else ())


@contextlib.contextmanager
def _locked_by_first(folder: Path, place: ProcessIndex) -> Iterator[None]:
    """Holds the lock of a folder of parts in process 0, for all processes."""
    if not place.leads:
        yield
        return
    with locked(folder, warn, "--output", "is predicting", JOB_LOCK):
        yield
        (folder / JOB_LOCK).unlink(missing_ok=True)


def _joined(predictor: Predictor, folder: Path, parts: Sequence[Part], flags: argparse.Namespace) -> Predictor:
    """Makes one table of the parts, unless the folder itself is wanted; returns the predictor that counts them all."""
    wait_for_parts(folder, parts)
    tally = predictor.tally_of(folder, parts)
    if not is_parts_folder(flags.output):
        with doing("Joining the parts"):
            join_parts(Path(flags.output), folder, parts, predictor.table)
    return predictor._replace(tally=tally)


def _say_shared(shared: _Shared, path: Path) -> None:
    """Prints what all processes have predicted."""
    if shared.predictor.tally.count:
        check_any(shared.predictor.tally, path, shared.parts)
        say_predicted(shared.predictor.tally, shared.predictor.classifier, path, shared.pace)
    if shared.parts:
        say_parts(path, shared.parts, (), Shard())
