"""Predicts the classes of new images: python -m fashion_jax.predict --workdir DIR --input PATH... --output FILE."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fashion_jax.command_line import (
    Overrides,
    Parser,
    add_distributed,
    check_distributed,
    check_output,
    folder_of_flag,
    output,
    program,
    rate,
    run_command,
)
from fashion_jax.config.loading import OF_PIXELS, load_run_config
from fashion_jax.data.sources.cost_table import COST_COLUMNS
from fashion_jax.data.sources.inputs import LISTS, STDIN, Input, Inputs
from fashion_jax.errors import UserError
from fashion_jax.scoring.calibration import UNSURE
from fashion_jax.scoring.tree_decoding import DECODES, DEFAULT_DECODE
from fashion_jax.serving.exports.folder import INDEX
from fashion_jax.serving.jobs import PART_SIZE, Part, Shard
from fashion_jax.serving.loading import check_decisions, load
from fashion_jax.serving.sharing import Place, check_folder, check_same, shared
from fashion_jax.serving.table_files import TABLES, write_table
from fashion_jax.terminal import Terminal, doing, silent
from fashion_jax.workdir.files import check_has_checkpoint
from fashion_jax.workdir.paths import config_path

if TYPE_CHECKING:
    from fashion_jax.scoring.calibration import Abstention
    from fashion_jax.serving.answers import Answer
    from fashion_jax.serving.classifier import Classifier
    from fashion_jax.serving.explaining import Explained
    from fashion_jax.serving.jobs import Answered
    from fashion_jax.serving.predictions import PredictionTable
    from fashion_jax.serving.tally import Tally
    from fashion_jax.terminal import Task


def main(arguments: list[str] | None = None) -> int:
    """Predicts as the arguments say; returns the exit status."""
    return run_command(_predict, arguments)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, Overrides]:
    """Returns the flags, and the overrides of fields as pairs of field and text.

    Raises:
        UserError: a flag is unknown, missing, or has a wrong value.
    """
    parser = Parser(
        prog=program("fashion_jax.predict"),
        usage="%(prog)s --workdir DIR --input PATH [PATH ...] --output FILE|DIR/ [--checkpoint best|latest] "
        "[--decode HOW] [--costs tree|FILE] [--min-probability P | --precision P] [--top-k K] [--all-probabilities] "
        "[--embeddings] [--shard I/N] [--explain DIR] [--distributed] [--config.FIELD=VALUE ...]",
        description="Writes the class and its probability at every level, one row per input, whatever it is. The "
        "probabilities are calibrated by the temperatures of the run's calibration.json.",
        epilog="A file that has no prediction has the reason in the column error; if none has a prediction, the exit "
        "status is 2. Other ways to predict: --config.eval_flip=true, --config.rare_classes.post_hoc.sub=1.",
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", metavar="DIR", type=Path, help="of a run, or an export")
    _add_inputs(parser)
    _add_output(parser)
    parser.add_argument("--checkpoint", choices=("best", "latest"), default="best", help="which one (default: best)")
    _add_decisions(parser)
    parser.add_argument(
        "--explain", metavar="DIR", type=Path, help="write there what in each image speaks for its classes (Grad-CAM)"
    )
    parser.add_argument("--batch-size", metavar="N", type=_positive, help="images at a time (default: the run's)")
    add_distributed(parser)
    parser.add_argument("--verbose", action="store_true", help="show where an error comes from")
    flags, overrides = parser.parse(arguments)
    for name, example in (("workdir", "runs/mtl"), ("input", "photos"), ("output", "predictions.csv")):
        if not getattr(flags, name):
            raise UserError(f"--{name} is missing: give it, e.g. --{name} {example}.")
    for field, _ in overrides:
        if field.startswith("data.") and field not in (*OF_PIXELS, "data.cache_dir"):
            raise UserError(f"{field} is of the data of a training, but predict reads --input: leave it out.")
    check_decisions(flags.decode, flags.costs, flags.precision, flags.min_probability)
    check_distributed(flags)
    if flags.distributed:
        _check_shared(flags)
    _check_output(flags)
    return flags, overrides


def _add_inputs(parser: Parser) -> None:
    parser.add_argument(
        "--input",
        metavar="PATH",
        nargs="+",
        action="extend",
        help="images, folders (with all below them), patterns such as 'photos/*.jpg', zips, tables of paths (their "
        f"names end in {', '.join(LISTS)}), and {STDIN} for paths on standard input, separated by line breaks or "
        "NULs",
    )
    parser.add_argument(
        "--column",
        metavar="NAME",
        default="",
        help="of the tables of --input: the column of paths, relative to the table (default: the only one that holds "
        "some)",
    )


def _add_output(parser: Parser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output",
        metavar="FILE|DIR/",
        help=f"a table, whose name ends in {', '.join(TABLES)}; or a folder, whose name ends in a slash, for Parquet "
        "files that each hold a part: the same command, run again, goes on with the parts that are missing",
    )
    group.add_argument("--top-k", metavar="K", type=_positive, default=0, help="add the K likeliest classes per level")
    group.add_argument(
        "--all-probabilities", action="store_true", help="add a list of the probabilities of all classes per level"
    )
    group.add_argument("--embeddings", action="store_true", help="add a list of the features, the heads' input")
    group.add_argument(
        "--part-size", metavar="N", type=_positive, help=f"rows of a part of the folder (default: {PART_SIZE:,})"
    )
    group.add_argument(
        "--shard",
        metavar="I/N",
        type=_shard,
        help="predict only every N-th part from the I-th on, while other processes predict the others: 1/2 and 2/2",
    )


def _add_decisions(parser: Parser) -> None:
    group = parser.add_argument_group("decisions")
    group.add_argument(
        "--decode",
        choices=DECODES,
        default=DEFAULT_DECODE,
        help="how the levels are made to agree: independent (each by itself, which can contradict itself), marginal "
        "(by the finest level), conditional (the default: P(class | parent) times P(parent), which stays calibrated), "
        "joint (the product of all levels, which is too sure)",
    )
    group.add_argument(
        "--costs",
        metavar="tree|FILE",
        default="",
        help="choose the path of least expected cost instead of the likeliest: by the distance in the tree, changed "
        f"where a table says so that has the columns {', '.join(COST_COLUMNS)}",
    )
    group.add_argument(
        "--min-probability",
        metavar="P",
        type=float,
        help=f"name the finest class that is at least so probable, or {UNSURE!r}, in a column answer",
    )
    group.add_argument(
        "--precision",
        metavar="P",
        type=float,
        help="the same, by a threshold for each level with which this share of its answers is right on the run's "
        "validation split",
    )


def _positive(text: str) -> int:
    if not re.fullmatch("0*[1-9][0-9]*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _shard(text: str) -> Shard:
    numbers = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
    shard = Shard(*map(int, numbers.groups())) if numbers else Shard(0)
    if not 1 <= shard.number <= shard.total:
        raise argparse.ArgumentTypeError(f"{text!r} is no shard: the first of two is 1/2, the second 2/2")
    return shard


def _check_shared(flags: argparse.Namespace) -> None:
    """Checks that the flags name nothing that only a process by itself can do."""
    for name in ("shard", "explain"):
        if getattr(flags, name):
            raise UserError(f"--{name} is for a process by itself: leave it out, or leave --distributed out.")
    path = Path(flags.output)
    if not _is_job(flags) and path.exists() and not path.is_file():
        raise UserError(
            f"--output is {flags.output!r}, which is no file, but with --distributed the parts of the table are kept "
            "beside it: name a file."
        )


def _check_output(flags: argparse.Namespace) -> None:
    """Checks the flags of the output, and that a file can be written."""
    path = Path(flags.output)
    if flags.explain and (flags.workdir / INDEX).is_file():
        raise UserError(f"--explain needs the weights of a run, but {flags.workdir} is an export: name the run.")
    if _is_job(flags):
        if flags.explain:
            raise UserError("--explain numbers its pictures by the rows of one table: name a FILE for --output.")
        return
    if path.suffix.lower() not in TABLES:
        raise UserError(
            f"--output is {flags.output!r}, but its name must end in one of {', '.join(TABLES)}, or in a slash for a "
            "folder of parts."
        )
    check_output("--output", path)
    for name in ("shard", "part_size"):
        if getattr(flags, name):
            raise UserError(f"--{name.replace('_', '-')} is for a folder of parts: give --output DIR/.")
    for name in ("all_probabilities", "embeddings"):
        if getattr(flags, name) and path.suffix.lower() == ".csv":
            raise UserError(
                f"--{name.replace('_', '-')} needs cells that hold lists, which a CSV does not have: let --output end "
                "in .parquet, .jsonl or a slash."
            )


def _is_job(flags: argparse.Namespace) -> bool:
    """Whether the output is a folder of parts."""
    return flags.output.endswith("/") or os.path.isdir(flags.output)


def _predict(arguments: list[str]) -> None:
    flags, overrides = parse(arguments)
    with _listed(flags) as listed:
        with shared(flags, lambda: _inputs(flags, overrides, listed)) as (place, inputs):
            if place.count > 1:
                with silent(not place.leads):
                    done = _predict_share(flags, overrides, inputs, place)
            elif _is_job(flags):
                _predict_job(flags, overrides, inputs)
            else:
                with folder_of_flag("--explain", flags.explain):
                    _predict_table(flags, overrides, inputs)
        if place.count > 1 and place.leads:
            _say_shared(done, Path(flags.output))


def _inputs(flags: argparse.Namespace, overrides: Overrides, listed: Any) -> Inputs:
    """Returns what --input names; checks quickly that there is a model, and something to predict."""
    inputs = Inputs(flags.input, _cache_dir(flags.workdir, overrides), flags.column, listed)
    if not inputs.any_exists:
        raise _nothing(flags)
    return inputs


def _cache_dir(workdir: Path, overrides: Overrides) -> str:
    """Returns the cache that the overrides name; checks quickly that there is a model.

    Raises:
        UserError: there is none.
    """
    if (workdir / INDEX).is_file():
        return ""
    config = load_run_config(config_path(workdir), overrides)
    check_has_checkpoint(workdir)
    return str(config.data.cache_dir)


@contextlib.contextmanager
def _listed(flags: argparse.Namespace) -> Iterator[Any]:
    """Yields the list of paths that STDIN stands for, or None; one that can be read again if that is needed."""
    if STDIN not in flags.input or sys.stdin is None:
        yield None
    elif not (_is_job(flags) or flags.distributed) or sys.stdin.buffer.seekable():
        yield sys.stdin.buffer
    else:
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)
            yield copy


def _nothing(flags: argparse.Namespace) -> UserError:
    return UserError(f"--input is {' '.join(flags.input)}, where there are no files: name images or their folder.")


class _Prediction(NamedTuple):
    """The classifier, its table, and the counts of what it has answered."""

    classifier: Classifier
    table: PredictionTable
    tally: Tally

    def answers(self, inputs: Iterable[Input], task: Task, are_first: bool = True) -> Iterator[Answer]:
        """Yields the answers for inputs, and counts them; see Classifier.stream for `are_first`."""
        stream = self.classifier.stream(
            inputs,
            all_probabilities=self.table.all_probabilities,
            embeddings=self.table.embeddings,
            are_first=are_first,
        )
        for answer in stream:
            self.tally.add(answer)
            task.reached(self.tally.count)
            yield answer

    def part_answers(self, task: Task) -> Answered:
        """Returns the function that answers the inputs of a part."""
        return lambda part, inputs: self.answers(inputs, task, are_first=part.first == 0)


def _load(flags: argparse.Namespace, overrides: Overrides) -> _Prediction:
    """Loads the classifier as the flags say."""
    from fashion_jax.serving.predictions import PredictionTable
    from fashion_jax.serving.tally import Tally

    with doing("Loading the model"):
        classifier = load(
            flags.workdir,
            checkpoint=flags.checkpoint,
            batch_size=flags.batch_size,
            decode=flags.decode,
            precision=flags.precision,
            min_probability=flags.min_probability,
            costs=flags.costs,
            top_k=flags.top_k,
            overrides=overrides,
        )
    table = PredictionTable(
        classifier.labels,
        has_answers=classifier.decider.abstention is not None,
        top_k=flags.top_k,
        all_probabilities=flags.all_probabilities,
        embeddings=flags.embeddings,
        is_flat=flags.output.lower().endswith(".csv"),
    )
    return _Prediction(classifier, table, Tally(classifier.labels, classifier.batch_size))


def _predict_table(flags: argparse.Namespace, overrides: Overrides, inputs: Inputs) -> None:
    """Writes the one table of the inputs, and the heat maps of --explain."""
    total = 0
    if not inputs.is_read_once:
        with doing("Listing the images"):
            total = inputs.count()
        if not total:
            raise _nothing(flags)
    prediction, path = _load(flags, overrides), Path(flags.output)
    explained = _explained(flags, prediction.classifier)
    with output(path) as file, doing("Predicting", total, "images") as task:
        answers = prediction.answers(explained.followed(inputs) if explained else inputs, task)
        answers = _at_least_one(explained.kept(answers) if explained else answers, flags)
        rows = map(prediction.table.row, answers)
        write_table(file, prediction.table.columns, rows, prediction.table.metadata, suffix=path.suffix)
    _check_any(prediction.tally, path)
    _say(prediction, path, _pace(prediction.tally))
    if explained:
        _say_explained(explained, flags)


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


def _predict_job(flags: argparse.Namespace, overrides: Overrides, inputs: Inputs) -> None:
    """Writes the parts of the inputs that this process has to, and says which are missing."""
    from fashion_jax.serving.jobs import check_settings, find_parts, job_part_size, missing_parts, write_parts
    from fashion_jax.workdir.lock import locked

    folder, shard = Path(flags.output), flags.shard or Shard()
    lock = f"_lock-{shard.number}-of-{shard.total}"
    with (
        folder_of_flag("--output", folder),
        locked(folder, _warn, "--output", f"is predicting shard {shard}", lock),
    ):
        size = job_part_size(folder, flags.part_size)
        with doing("Listing the images"):
            parts = find_parts(inputs, folder, size)
        if not parts:
            raise _nothing(flags)
        prediction = _load(flags, overrides)
        digest = check_settings(folder, _settings(flags, overrides, prediction.classifier, size))
        mine = [part for part in parts if shard.has(part.number) and not part.is_done]
        _say_begun(folder, mine)
        with doing("Predicting", sum(part.count for part in mine), "images") as task:
            write_parts(folder, mine, inputs, prediction.part_answers(task), prediction.table, digest)
        (folder / lock).unlink(missing_ok=True)
    missing = missing_parts(folder, parts)
    if not missing:
        _check_any(_tally_of(prediction, folder, parts), folder, parts)
    if mine:
        _say(prediction, folder, _pace(prediction.tally))
    else:
        Terminal().say(f"Shard {shard} has no part left to do.")
    _say_parts(folder, parts, missing, shard)


class _Shared(NamedTuple):
    """What several processes have predicted together.

    Attributes:
        prediction: of this process, with the counts of the answers of all parts.
        pace: of this start, in words.
        parts: all of them; empty if they have become one table.
    """

    prediction: _Prediction
    pace: str
    parts: Sequence[Part]


def _predict_share(flags: argparse.Namespace, overrides: Overrides, inputs: Inputs, place: Place) -> _Shared:
    """Predicts this process's share of the parts, while others predict theirs; process 0 joins them to one table."""
    from fashion_jax.serving.jobs import digest_of_inputs, job_part_size, write_parts
    from fashion_jax.serving.shared_parts import agreed_part_size, pace_of_all, parts_beside, plan_parts

    folder = Path(flags.output) if _is_job(flags) else parts_beside(Path(flags.output))
    with folder_of_flag("--output", folder if place.leads else None), _locked_by_first(folder, place):
        check_folder(place, "--output", folder)
        size = job_part_size(folder, flags.part_size, usual=0)
        with doing("Listing the images"):
            count, digest = digest_of_inputs(inputs)
        check_same({"number of inputs": f"{count:,}", "digest of the names of the inputs": digest[:12]})
        if not count:
            raise _nothing(flags)
        prediction = _load(flags, overrides)
        size = agreed_part_size(size, count, place, prediction.classifier.batch_size)
        plan = plan_parts(inputs, folder, _settings(flags, overrides, prediction.classifier, size), place)
        if place.leads:
            _say_begun(folder, plan.parts)
        with doing("Predicting", sum(part.count for part in plan.mine), "images") as task:
            write_parts(folder, plan.mine, inputs, prediction.part_answers(task), prediction.table, plan.settings)
        pace = pace_of_all(prediction.tally)
        if place.leads:
            prediction = _joined(prediction, folder, plan.parts, flags)
    return _Shared(prediction, pace, plan.parts if _is_job(flags) else ())


@contextlib.contextmanager
def _locked_by_first(folder: Path, place: Place) -> Iterator[None]:
    """Holds the lock of a folder of parts in process 0, for all processes."""
    from fashion_jax.workdir.lock import locked

    if not place.leads:
        yield
        return
    with locked(folder, _warn, "--output", "is predicting", "_lock"):
        yield
        (folder / "_lock").unlink(missing_ok=True)


def _joined(prediction: _Prediction, folder: Path, parts: Sequence[Part], flags: argparse.Namespace) -> _Prediction:
    """Makes one table of the parts, unless the folder itself is wanted; returns the prediction of all their answers."""
    from fashion_jax.serving.shared_parts import join_parts, wait_for_parts

    wait_for_parts(folder, parts)
    tally = _tally_of(prediction, folder, parts)
    if not _is_job(flags):
        with doing("Joining the parts"):
            join_parts(Path(flags.output), folder, parts, prediction.table)
    return prediction._replace(tally=tally)


def _tally_of(prediction: _Prediction, folder: Path, parts: Sequence[Part]) -> Tally:
    """Returns the counts of the answers that parts hold, whoever has predicted them."""
    from fashion_jax.serving.jobs import add_counts
    from fashion_jax.serving.tally import Tally

    tally = Tally(prediction.classifier.labels, prediction.classifier.batch_size)
    add_counts(tally, folder, parts)
    return tally


def _say_shared(shared: _Shared, path: Path) -> None:
    """Prints what all processes have predicted."""
    if shared.prediction.tally.count:
        _check_any(shared.prediction.tally, path, shared.parts)
        _say(shared.prediction, path, shared.pace)
    if shared.parts:
        _say_parts(path, shared.parts, (), Shard())


def _settings(flags: argparse.Namespace, overrides: Overrides, classifier: Classifier, size: int) -> dict[str, Any]:
    """Returns all that an answer depends on, for the parts of one folder."""
    from fashion_jax.serving.model_identity import identify_model

    return {
        "part_size": size,
        **identify_model(flags.workdir, classifier.engine),
        "temperatures": dict(classifier.engine.temperatures),
        "fields": {field: text for field, text in overrides if field != "data.cache_dir"},
        "decode": classifier.decider.how,
        "costs": _identified(flags.costs),
        "min_probability": flags.min_probability,
        "precision": flags.precision,
        "top_k": flags.top_k,
        "all_probabilities": flags.all_probabilities,
        "embeddings": flags.embeddings,
    }


def _identified(costs: str) -> str:
    """Returns what tells the value of --costs from others: the text of a table, or its SHA-256 if it is not UTF-8."""
    if not costs or costs == "tree":
        return costs
    try:
        return Path(costs).read_text("utf-8")  # also known to jobs that earlier versions have begun
    except UnicodeDecodeError:  # Parquet, or text in UTF-16
        return f"of a table with the SHA-256 {hashlib.sha256(Path(costs).read_bytes()).hexdigest()}"


def _say_begun(folder: Path, parts: Sequence[Part]) -> None:
    """Says which parts are written anew."""
    for part in parts:
        if part.grows_from:
            Terminal().say(
                f"{folder / part.name} has {part.grows_from:,} rows and is written anew with {part.count:,}, since "
                "inputs have been added."
            )


def _warn(text: str) -> None:
    Terminal(sys.stderr).say(text)


def _pace(tally: Tally) -> str:
    return f"{rate(tally.speed)} images/s" if tally.speed else f"Predicting took {tally.seconds:.1f} s"


def _say(prediction: _Prediction, path: Path, pace: str) -> None:
    """Prints what was predicted, at which pace, and how."""
    tally, decider = prediction.tally, prediction.classifier.decider
    say = Terminal().say
    said = f"{path}: {tally.predicted:,} {'prediction' if tally.predicted == 1 else 'predictions'}."
    say(f"{said} {pace}." if pace else said)
    if tally.first_failed:
        files = "1 file has" if tally.failed == 1 else f"{tally.failed:,} files have"
        example = f"{tally.first_failed.path} ({tally.first_failed.error})"
        say(f"{files} no prediction, such as {example}: the column error has the reasons.")
    if not tally.predicted:
        return
    if prediction.classifier.engine.decode is None:
        share = f"{tally.contradictions / tally.predicted:.2%}"
        say(f"Decode: {decider.how}. Each level by itself would contradict another on {share} of the images.")
    if decider.abstention:
        say(_answered_words(decider.abstention, tally))


def _check_any(tally: Tally, path: Path, parts: Sequence[Part] = ()) -> None:
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


def _say_explained(explained: Explained, flags: argparse.Namespace) -> None:
    """Writes the heat maps of --explain, and says how many they are."""
    count = explained.write(flags.explain, flags.batch_size)
    said = f"{flags.explain}: what speaks for the classes of {count:,} of {explained.predicted:,} images"
    Terminal().say(f"{said}, drawn from {explained.source}.")


def _say_parts(folder: Path, parts: Sequence[Part], missing: Sequence[Part], shard: Shard) -> None:
    """Prints how much of a job is done, and which shards have still to be run."""
    rows = sum(part.count for part in parts)
    whole = f"{rows:,} {'row' if rows == 1 else 'rows'} in {len(parts):,} {'part' if len(parts) == 1 else 'parts'}"
    if not missing:
        Terminal().say(f"{folder} is complete: {whole}.")
        return
    there = rows - sum(part.count for part in missing)
    numbers = sorted({part.number % shard.total + 1 for part in missing})
    shards = ", ".join(str(Shard(number, shard.total)) for number in numbers)
    lacking = "1 part is missing, that" if len(missing) == 1 else f"{len(missing):,} parts are missing, those"
    Terminal().say(f"{folder} has {there:,} of {whole}. {lacking} of --shard {shards}.")


if __name__ == "__main__":
    sys.exit(main())
