"""Decodes data once: python -m fashion_jax.prepare --config configs/mtl.py --output DIR [Beam's options]."""

from __future__ import annotations

import argparse
import logging
import re
import shlex
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from fashion_jax.command_line import Overrides, Parser, parse_overrides, program, run_command
from fashion_jax.config.loading import config_to_json, image_shape, load_config
from fashion_jax.data.dataset import Dataset, check_paths
from fashion_jax.data.fields import DataFields, data_fields
from fashion_jax.data.findings import left_out_note
from fashion_jax.data.leaks import leak_warning
from fashion_jax.errors import RunError, UserError, how_to_install
from fashion_jax.terminal import Task, Terminal, doing
from fashion_jax.workdir.lock import locked

if TYPE_CHECKING:
    from fashion_jax.data.preparing import Shard

# Beam's DirectRunner would hand the pipeline to a program that it downloads; the runner inside of Beam's own package
# is named by its class.
_LOCAL_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_LOCAL_NAMES = ("", "direct", "directrunner")


def main(arguments: list[str] | None = None) -> int:
    """Prepares as the arguments say; returns the exit status."""
    return run_command(_prepare, arguments)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, Overrides, list[str]]:
    """Returns the flags, the overrides of config fields as pairs of field and text, and the arguments left for Beam.

    Raises:
        UserError: a flag is missing or lacks its value.
    """
    parser = Parser(
        prog=program("fashion_jax.prepare"),
        usage="%(prog)s --config FILE --output DIR [--config.FIELD=VALUE ...] [--runner=... and Beam's other options]",
        description="Reads, checks and decodes the images of any source once, and writes them as a TFDS directory of "
        "ArrayRecord files; run again with the same config, it resumes where it was stopped. To train on it: "
        "the same config, and --config.data.source=tfds --config.data.path=DIR.",
        epilog="On two cores: --direct_num_workers=2. Other runners: Beam's --runner and its options; the data and DIR "
        "must be where its workers can reach them.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="as of fashion_jax.main: it names the data and image_size")
    parser.add_argument("--output", metavar="DIR", type=Path, help="a new directory, or one that was begun")
    parser.add_argument(
        "--images_per_shard",
        metavar="N",
        type=int,
        default=0,
        help="images per file (default: 32 MiB of pixels, or more so that there are at most about 900 files)",
    )
    parser.add_argument("--verbose", action="store_true", help="show where an error comes from")
    flags, rest = parser.parse_known_args(arguments)
    parser.check_paths(flags)
    overrides, options = _divide(rest)
    for name, example in (("config", "smoke"), ("output", "data/smoke")):
        if not str(getattr(flags, name) or ""):
            raise UserError(f"--{name} is missing: give it, e.g. --{name} {example}.")
    if flags.images_per_shard < 0:
        raise UserError(f"--images_per_shard is {flags.images_per_shard}, but must be 0 or above.")
    return flags, overrides, options


def _divide(rest: Sequence[str]) -> tuple[Overrides, list[str]]:
    """Separates overrides of the config from options for Beam, which are all others."""
    overrides: list[str] = []
    options: list[str] = []
    to: list[str] | None = None
    for argument in rest:
        if argument.startswith("--"):
            to = overrides if argument.startswith("--config.") else options
        elif to is None:
            raise UserError(f"There is no argument {argument!r}: see --help.")
        to.append(argument)
    return parse_overrides(overrides), options


def _prepare(arguments: list[str]) -> None:
    flags, overrides, options = parse(arguments)
    config = load_config(flags.config, overrides)
    check_paths(data_fields(config))
    pipeline_options = _beam_options(options)

    prepare(config, flags.output.absolute(), image_shape(config), flags.images_per_shard, pipeline_options)


def prepare(
    config: ConfigDict, folder: Path, shape: tuple[int, int], images_per_shard: int = 0, options: Any = None
) -> None:
    """Writes the images of a checked config as a TFDS directory, or continues writing it.

    Args:
        config: of the data.
        folder: absolute path.
        shape: (height, width) of what the network sees, from which the size of the canvas follows.
        images_per_shard: 0 takes as many as have 32 MiB of pixels, or more so that there are at most 900 shards.
        options: Beam's PipelineOptions; None runs in this process.

    Raises:
        UserError: the data, the directory or the options are wrong.
    """
    from fashion_jax.data.batches.pipeline import canvas_shape
    from fashion_jax.data.dataset import load_dataset
    from fashion_jax.data.preparing import check_output, describe, plan_shards
    from fashion_jax.data.records.prepared_index import is_complete

    options = options or _beam_options([])
    check_output(config, folder, shape, images_per_shard)
    dataset = load_dataset(config)
    say = Terminal().say
    for line in _findings(dataset, config.data.drop_leaks):
        say(line)
    shards = plan_shards(config, dataset, folder, shape, images_per_shard)
    if is_complete(folder):
        say(f"{folder} is complete.")
        return
    images = sum(len(split) for split in dataset.splits.values())
    with locked(folder, say, "--output", "is preparing data"):
        missing = [shard for shard in shards if not shard.is_done]
        say(f"Preparing {images:,} images in {folder}: {len(missing)} of {len(shards)} shards are to be written.")
        if missing:
            _run(missing, options)
        describe(config_to_json(config), dataset, folder, shards, canvas_shape(config, shape))
    size = sum(shard.file.stat().st_size for shard in shards)
    say(f"Done: {images:,} images, {size / 1e6:,.1f} MB. Train on them, with the same config otherwise:")
    say(_flags_for(folder, data_fields(config)), as_is=True)


def _flags_for(folder: Path, data: DataFields) -> str:
    """Returns the flags that make the config of a prepared set one that trains on it."""
    done = {"drop_leaks": False, "folds": 0, "fold": 0}  # the set has these done, and its config may not ask for them
    fields = {"source": "tfds", "path": folder} | {x: value for x, value in done.items() if getattr(data, x) != value}
    return shlex.join(f"--config.data.{name}={value}" for name, value in fields.items())


def _findings(dataset: Dataset, drop_leaks: bool) -> Iterator[str]:
    """Yields what may be wrong with the data, as training does, which cannot find it again in the prepared set."""
    if warning := leak_warning(dataset.leaks, drop_leaks):
        yield warning
    yield from (f"Warning: {warning}." for warning in dataset.warnings)
    if note := left_out_note(dataset.left_out, "all named in left_out.json"):
        yield f"Note: {note}."


def _beam_options(options: list[str]) -> Any:
    """Returns Beam's PipelineOptions of the command line.

    Raises:
        UserError: Beam is not installed, or does not know one of them.
    """
    logging.disable(logging.WARNING)  # Beam's import warns of cloud services that are not used
    try:
        from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
    except ImportError as error:
        raise UserError(f"Apache Beam cannot be imported ({error}): {how_to_install('prepare')}.") from error
    finally:
        logging.disable(logging.NOTSET)
    try:
        parsed = PipelineOptions(options)
        known = set(parsed.get_all_options())
        unknown = set(parsed.get_all_options(retain_unknown_options=True)) - known
    except SystemExit as error:
        raise UserError(f"Beam does not understand {' '.join(options)}: see its PipelineOptions.") from error
    if unknown:
        raise UserError(f"There is no flag --{sorted(unknown)[0]}, neither here nor in Beam: see --help.")
    standard, direct = parsed.view_as(StandardOptions), parsed.view_as(DirectOptions)
    if (standard.runner or "").lower() in _LOCAL_NAMES:
        standard.runner = _LOCAL_RUNNER
        if direct.direct_num_workers != 1 and direct.direct_running_mode == "in_memory":
            direct.direct_running_mode = "multi_processing"
    return parsed


def _run(missing: Sequence[Shard], options: Any) -> None:
    """Writes the missing shards in a pipeline of Beam.

    Raises:
        UserError: the data has changed, or an image cannot be used.
        RunError: the pipeline has left shards out.
    """
    import apache_beam as beam

    from fashion_jax.data.preparing import write_shard

    pipeline = beam.Pipeline(options=options)
    shards = pipeline | "Shards" >> beam.Create(missing) | "Spread" >> beam.Reshuffle()
    _ = shards | "Decode and write" >> beam.Map(write_shard)
    ended = threading.Event()
    with doing("Preparing", sum(shard.num_images for shard in missing), "images") as task:
        follower = threading.Thread(target=_follow, args=(missing, task, ended), daemon=True)
        follower.start()
        try:
            pipeline.run().wait_until_finish()
        except Exception as error:
            raise _cause(error) from error
        finally:
            ended.set()
            follower.join()
    if left := [shard for shard in missing if not shard.is_done]:
        raise RunError(f"{len(left)} shards, such as {left[0].file}, have not been written: run the same again.")


def _follow(missing: Sequence[Shard], task: Task, ended: threading.Event) -> None:
    """Notes how many images are in the shards that exist, whatever runner writes them."""
    known = 0
    while not ended.wait(0.5):
        done = sum(shard.num_images for shard in missing if shard.is_done)
        if done > known:
            task.reached(done)
            known = done


def _cause(error: Exception) -> Exception:
    """Returns the UserError in a worker, which Beam wraps by raising one of the same class, or repeats in a text."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, UserError):
            return UserError(str(seen).partition(" [while running")[0])
        seen = seen.__cause__ or seen.__context__
    if found := re.search(r"UserError: (.+?)( \[while running|\n|\\n|$)", str(error)):
        return UserError(found[1])
    return error


if __name__ == "__main__":
    sys.exit(main())
