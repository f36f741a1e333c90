"""Predicts the classes of new images: python -m fashion_jax.predict --workdir DIR --input PATH... --output FILE."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fashion_jax.command_line import (
    Overrides,
    Parser,
    check_output,
    folder_of_flag,
    output,
    program,
    run_command,
)
from fashion_jax.config.loading import OF_PIXELS, load_run_config, ways_to_predict
from fashion_jax.data.sources.inputs import Input, find_inputs
from fashion_jax.errors import UserError
from fashion_jax.scoring.calibration import UNSURE
from fashion_jax.scoring.tree_decoding import COST_COLUMNS, DECODES, DEFAULT_DECODE
from fashion_jax.serving.predictions import Prediction, table_columns, table_rows
from fashion_jax.serving.table_files import TABLES, write_table
from fashion_jax.terminal import Terminal, doing
from fashion_jax.workdir.files import check_has_checkpoint
from fashion_jax.workdir.paths import config_path, predictions_path

if TYPE_CHECKING:
    from fashion_jax.scoring.calibration import Abstention
    from fashion_jax.scoring.decider import Decider, Decisions
    from fashion_jax.workdir.trained import Trained


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
        usage="%(prog)s --workdir DIR --input PATH [PATH ...] --output FILE [--checkpoint best|latest] "
        "[--decode HOW] [--costs tree|FILE] [--min-probability P | --precision P] [--explain DIR] "
        "[--config.FIELD=VALUE ...]",
        description="Writes the class and its probability at every level, one row per input, whatever it is. The "
        "probabilities are calibrated by the temperatures of the run's calibration.json.",
        epilog="A file that has no prediction has the reason in the column error; if none has a prediction, the exit "
        "status is 2. Other ways to predict: --config.eval_flip=true, --config.rare_classes.post_hoc.sub=1.",
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", metavar="DIR", type=Path, help="of a run")
    parser.add_argument(
        "--input", metavar="PATH", nargs="+", action="extend", help="images, folders (with all below them), and zips"
    )
    parser.add_argument("--output", metavar="FILE", type=Path, help=f"a table: its name ends in {', '.join(TABLES)}")
    parser.add_argument("--checkpoint", choices=("best", "latest"), default="best", help="which one (default: best)")
    _add_decisions(parser)
    parser.add_argument(
        "--explain", metavar="DIR", type=Path, help="write there what in each image speaks for its classes (Grad-CAM)"
    )
    parser.add_argument("--batch-size", metavar="N", type=int, help="images at a time (default: the run's)")
    parser.add_argument("--verbose", action="store_true", help="show where an error comes from")
    flags, overrides = parser.parse(arguments)
    for name, example in (("workdir", "runs/mtl"), ("input", "photos"), ("output", "predictions.csv")):
        if not getattr(flags, name):
            raise UserError(f"--{name} is missing: give it, e.g. --{name} {example}.")
    if flags.batch_size is not None and flags.batch_size < 1:
        raise UserError(f"--batch-size is {flags.batch_size}, but must be at least 1.")
    for field, _ in overrides:
        if field.startswith("data.") and field not in (*OF_PIXELS, "data.cache_dir"):
            raise UserError(f"{field} is of the data of a training, but predict reads --input: leave it out.")
    _check_decisions(flags, ways_to_predict(config_path(flags.workdir), overrides))
    _check_output(flags.output)
    return flags, overrides


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


def _check_decisions(flags: argparse.Namespace, otherwise: list[str]) -> None:
    """Checks the flags of decisions; `otherwise` names the config fields that differ from the run's validation."""
    for name in ("min_probability", "precision"):
        value, flag = getattr(flags, name), "--" + name.replace("_", "-")
        if value is not None and not 0 < value <= 1:
            raise UserError(f"{flag} is {value}, but must be above 0 and at most 1.")
    if flags.min_probability is not None and flags.precision is not None:
        raise UserError("--min-probability and --precision both say when to answer: give one of them.")
    if flags.precision is not None and otherwise:
        raise UserError(
            f"--precision takes its thresholds from predictions that were made with another {otherwise[0]}: leave that "
            "out, or give --min-probability."
        )
    if flags.costs and flags.decode == "independent":
        raise UserError(
            "--costs needs probabilities that agree, which --decode independent does not give: leave it out."
        )


def _check_output(path: Path) -> None:
    if path.suffix.lower() not in TABLES:
        raise UserError(f"--output is {str(path)!r}, but its name must end in one of {', '.join(TABLES)}.")
    check_output("--output", path)


def _predict(arguments: list[str]) -> None:
    flags, overrides = parse(arguments)
    config = load_run_config(config_path(flags.workdir), overrides)
    check_has_checkpoint(flags.workdir)
    inputs = list(find_inputs(flags.input, config.data.cache_dir))
    if not inputs or not any(map(os.path.lexists, flags.input)):
        raise UserError(f"--input is {' '.join(flags.input)}, where there are no files: name images or their folder.")
    with folder_of_flag("--explain", flags.explain):
        _answer(flags, overrides, config.data.cache_dir, inputs)


def _answer(flags: argparse.Namespace, overrides: Overrides, cache_dir: str, inputs: Sequence[Input]) -> None:
    """Predicts the classes of the inputs, and writes the files that the flags name."""
    from fashion_jax.devices.compilation_cache import enable_compilation_cache
    from fashion_jax.workdir.trained import load_trained

    enable_compilation_cache(cache_dir)
    decider, fitted_to = _decider(flags)
    with doing("Loading the model"):
        trained = load_trained(flags.workdir, flags.checkpoint, overrides)
    if fitted_to not in (None, trained.step):
        if flags.precision:
            raise UserError(
                f"--precision takes its thresholds from predictions of step {fitted_to}, but --checkpoint "
                f"{flags.checkpoint} is step {trained.step}: use that of step {fitted_to}, or --min-probability."
            )
        print(f"Probabilities are calibrated as those of step {fitted_to}, but are of {trained.step}.", file=sys.stderr)
    batch_size = trained.batch_size(flags.batch_size)
    with doing("Compiling the model"):
        trained = trained.compiled(batch_size)
    began = time.monotonic()
    predictions, decisions = _predictions(trained, decider, inputs, batch_size)
    seconds = time.monotonic() - began
    has_answers = decider.abstention is not None
    with output(flags.output) as path:
        columns = table_columns(decider.taxonomy, has_answers)
        write_table(path, columns, table_rows(predictions, decider.taxonomy, has_answers))
    _check_any(predictions, flags.output)
    _say(flags.output, predictions, seconds, batch_size)
    _say_decisions(decider, decisions)
    if flags.explain:
        _explain(trained, inputs, predictions, flags.explain, flags.batch_size)


def _decider(flags: argparse.Namespace) -> tuple[Decider, int | None]:
    """Returns the decider of the flags and calibration.json, and the step that the latter was fitted to, or None."""
    from fashion_jax.scoring.calibration import Abstention
    from fashion_jax.scoring.decider import Decider
    from fashion_jax.scoring.tree_decoding import read_costs, tree_costs
    from fashion_jax.workdir.calibration_file import read_calibration
    from fashion_jax.workdir.files import read_taxonomy
    from fashion_jax.workdir.predictions import read_predictions

    taxonomy = read_taxonomy(flags.workdir)
    calibration = read_calibration(flags.workdir, taxonomy)
    if not calibration:
        print(f"{flags.workdir} has no calibration.json: probabilities are as the model has them.", file=sys.stderr)
    costs = None
    if flags.costs:
        costs = tree_costs(taxonomy) if flags.costs == "tree" else read_costs(Path(flags.costs), taxonomy)
    temperatures = calibration.temperatures if calibration else {}
    abstention = None
    if flags.min_probability:
        abstention = Abstention.of_probability(taxonomy, flags.min_probability)
    decider = Decider(taxonomy, temperatures, flags.decode, costs, abstention)
    if flags.precision:
        validation = read_predictions(predictions_path(flags.workdir), taxonomy)
        decider = decider.for_precision(*validation, flags.precision)
    return decider, calibration.step if calibration else None


def _predictions(
    trained: Trained, decider: Decider, inputs: Sequence[Input], batch_size: int
) -> tuple[list[Prediction], Decisions]:
    """Returns a prediction per input, in order, and the decisions on those that are images."""
    readable = [i for i, item in enumerate(inputs) if not item.error]
    with doing("Predicting", len(readable), "images") as task:
        good, errors, log_probs = _log_probs(trained, [inputs[i].file for i in readable], batch_size, task.reached)
    predictions = [Prediction(item.name, item.error) for item in inputs]
    for i, error in errors.items():
        predictions[readable[i]] = Prediction(inputs[readable[i]].name, error)
    decisions = decider.decide(log_probs)
    for place, i in enumerate(good):
        predictions[readable[i]] = Prediction(
            inputs[readable[i]].name,
            classes={level: int(classes[place]) for level, classes in decisions.classes.items()},
            probabilities={level: float(values[place]) for level, values in decisions.probabilities.items()},
            answer=decisions.answers[place],
        )
    return predictions, decisions


def _log_probs(
    trained: Trained, files: Sequence[str], batch_size: int, reached: Callable[[int], None]
) -> tuple[list[int], dict[int, str], dict[str, Any]]:
    """Returns the indices of decodable files, the errors of the others, and the decodable files' log-probabilities.

    It calls `reached` with the number of files that are done.
    """
    from fashion_jax.data.batches.pipeline import decode_files

    good: list[int] = []
    places: list[int] = []  # of the good files in the results: failed files leave gaps at the ends of batches
    errors: dict[int, str] = {}

    def batches() -> Iterator[dict[str, Any]]:
        begin = 0
        for indices, pixels, failed in decode_files(files, trained.canvas, trained.config.data.resize, batch_size):
            errors.update(failed)
            if len(indices) or not good:
                good.extend(indices.tolist())
                places.extend(range(begin, begin + len(indices)))
                begin += len(pixels)
                yield {"image": pixels}
            reached(len(good) + len(errors))

    log_probs = trained.log_probs(batches(), len(files) + batch_size)  # all rows, padding included
    return good, errors, {level: values[places] for level, values in log_probs.items()}


def _check_any(predictions: Sequence[Prediction], table: Path) -> None:
    """Checks that at least one input has a prediction.

    Raises:
        UserError: none has.
    """
    if all(prediction.error for prediction in predictions):
        first, others = predictions[0], len(predictions) - 1
        found = f"{first.path} is no image that can be predicted ({first.error})"
        if others:
            found += f", nor is any of the {others:,} other files" if others > 1 else ", nor is the other file"
        raise UserError(
            f"{found}: name images, or folders or zips of them. {table} has a row for each file, with the reason."
        )


def _say(path: Path, predictions: Sequence[Prediction], seconds: float, batch_size: int) -> None:
    """Prints the number of predictions and the speed; for less than a batch, which is padded, the time instead."""
    from fashion_jax.command_line import rate

    say = Terminal().say
    failed = [prediction for prediction in predictions if prediction.error]
    done = len(predictions) - len(failed)
    speed = f"{rate(done / max(seconds, 1e-9))} images/s" if done >= batch_size else f"Predicting took {seconds:.1f} s"
    say(f"{path}: {done:,} {'prediction' if done == 1 else 'predictions'}. {speed}.")
    if failed:
        files = "1 file has" if len(failed) == 1 else f"{len(failed):,} files have"
        example = f"{failed[0].path} ({failed[0].error})"
        say(f"{files} no prediction, such as {example}: the column error has the reasons.")


def _say_decisions(decider: Decider, decisions: Decisions) -> None:
    say, rate = Terminal().say, decisions.contradiction_rate
    say(f"Decode: {decider.how}. Each level by itself would contradict another on {rate:.2%} of the images.")
    if decider.abstention:
        say(_answered_words(decider.abstention, decisions))


def _answered_words(abstention: Abstention, decisions: Decisions) -> str:
    """Says how many images were answered at which level, and from which probability on."""
    parts = []
    for level, answered in reversed(decisions.answered.items()):
        threshold = abstention.thresholds[level]
        bound = f"probability at least {threshold:.4g}" if threshold <= 1 else "no threshold is high enough"
        parts.append(f"{answered:,} at {level} ({bound})")
    count = len(decisions.answers)
    unsure = count - sum(decisions.answered.values())
    images = "1 image" if count == 1 else f"{count:,} images"
    return f"Answers for {images}: {', '.join(parts)}, {unsure:,} not at all ({UNSURE})."


def _explain(
    trained: Trained, inputs: Sequence[Input], predictions: Sequence[Prediction], folder: Path, batch_size: int | None
) -> None:
    """Writes heat maps of the predicted classes, sure or not, numbered by table row from 0."""
    import numpy as np

    from fashion_jax.serving.grad_cam import explain_files, map_words

    numbers = [i for i, prediction in enumerate(predictions) if not prediction.error]
    classes = {
        level: np.array([predictions[i].class_at(level) for i in numbers], np.int32)
        for level in trained.taxonomy.levels
    }
    count = explain_files(trained, [inputs[i].file for i in numbers], classes, numbers, folder, batch_size)
    said = f"{folder}: what speaks for the classes of {count:,} of {len(numbers):,} images"
    Terminal().say(f"{said}, drawn from {map_words(trained)}.")


if __name__ == "__main__":
    sys.exit(main())
