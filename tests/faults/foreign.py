"""Runs and data sets from other people, which are read and not obeyed; and users' typing mistakes."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.faults.lab import Command, Fault, Lab, Try, refused
from tests.faults.shop import Look

_CODE = "import pathlib; pathlib.Path({touched!r}).write_text('harmed')\nclass Harm: pass\n"


def _tfds_set(lab: Lab, features: dict[str, object]) -> Path:
    folder = lab.folder / "set"
    folder.mkdir()
    (folder / "features.json").write_text(json.dumps(features))
    info = {"name": "shop", "version": "1.0.0", "fileFormat": "tfrecord", "splits": [], "moduleName": "harm.shop"}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (lab.folder / "harm.py").write_text(_CODE.format(touched=str(lab.folder / "touched")))
    return folder


_HARM = {"pythonClassName": "harm.Harm", "tensor": {}}
_DICT = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
_SETS: dict[str, dict[str, object]] = {
    "a foreign class": _HARM,
    "a foreign class within": {"pythonClassName": _DICT, "featuresDict": {"features": {"image": _HARM}}},
    "a foreign class in a list": {
        "pythonClassName": "tensorflow_datasets.core.features.sequence_feature.Sequence",
        "sequence": {"feature": _HARM, "length": "-1"},
    },
    "the older form": {"type": "harm.Harm", "content": {}},
    "the older form within": {"type": _DICT, "content": {"image": {"type": "harm.Harm", "content": "{}"}}},
    "a module of Python": {"pythonClassName": "os.system", "tensor": {}},
    "200,000 brackets": {},
}


def _foreign_features(name: str, lab: Lab) -> Iterator[Try]:
    """Checks that no module named in a set's files is imported, and that the set is refused in a sentence."""
    folder = _tfds_set(lab, _SETS[name])
    if name == "200,000 brackets":
        (folder / "features.json").write_text("[" * 200_000)
    look = Look(lab, {"data.source": "tfds", "data.path": folder, "data.cache_dir": lab.folder / "cache"})
    fresh = f"import sys; sys.path.insert(0, {str(lab.folder)!r})"
    fields = {"data.source": "tfds", "data.path": folder}
    command = lab.train(lab.folder / "run", fields, before=fresh)
    result = refused(name, command, [], status=2)
    untouched = not (lab.folder / "touched").exists()
    is_right = result.survived and untouched and look.status == 2 and result.message
    yield Try(name, bool(is_right), result.message)


def _evaluated_features(lab: Lab) -> Iterator[Try]:
    """Checks the same through the config of a foreign run."""
    folder = _tfds_set(lab, _HARM)
    workdir = lab.copy()
    _set_fields(workdir, {"source": "tfds", "path": str(folder)})
    fresh = f"import sys; sys.path.insert(0, {str(lab.folder)!r})"
    command = lab.command("evaluate", "--workdir", workdir, before=fresh)
    untouched = not (lab.folder / "touched").exists()
    result = refused("through evaluate", command, [])
    yield Try("through evaluate", result.survived and untouched, result.message)


FOREIGN_SETS: list[Fault] = [*(functools.partial(_foreign_features, name) for name in _SETS), _evaluated_features]


def _set_fields(workdir: Path, fields: dict[str, object]) -> None:
    path = workdir / "config.json"
    config = json.loads(path.read_text())
    config["data"].update(fields)
    path.write_text(json.dumps(config))


def _foreign_cache(module: str, lab: Lab) -> Iterator[Try]:
    """Checks that a cache named in a run's config is neither read nor written."""
    workdir, planted = lab.copy(), lab.folder / "planted"
    planted.mkdir()
    _set_fields(workdir, {"cache_dir": str(planted)})
    output = lab.folder / "out.csv"
    flags = ["--config.data.cache_dir=" + str(lab.whole.parent / "cache")] if module == "evaluate" else []
    if module == "predict":
        flags += ["--input", next((lab.whole.parent / "cache").rglob("images")), "--output", output]
    variables = {"HOME": str(lab.folder), "XDG_CACHE_HOME": str(lab.folder / "own")}
    environment = {k: v for k, v in lab.environment.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    lab.environment = environment
    command = Command(lab, f"fashion_jax.{module}", ["--workdir", workdir, *flags], is_fresh=True, variables=variables)
    status = command.wait()
    left = os.listdir(planted)
    yield Try(f"cache_dir: {module}", status == 0 and not left, f"{status}: {command.sentence()} {left or 'not used'}")


def _pickled(lab: Lab) -> Iterator[Try]:
    """Checks that a pickle in place of a checkpoint's files is not executed."""
    workdir = lab.copy()
    touched = lab.folder / "touched"
    pickle = f"cos\nsystem\n(S'touch {touched}'\ntR.".encode()
    for path in (workdir / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(pickle)
    command = lab.command("evaluate", "--workdir", workdir)
    result = refused("pickles for checkpoints", command, ["checkpoint"], status=command.process.returncode or 1)
    yield Try(result.name, result.survived and not touched.exists(), result.message)


def _no_run(name: str, make: Callable[[Lab], Path], module: str, words: Sequence[str], lab: Lab) -> Iterator[Try]:
    flags = ["--input", lab.whole, "--output", lab.folder / "out.csv"] if module == "predict" else []
    command = lab.command(module, "--workdir", make(lab), *flags)
    yield refused(f"{module}: {name}", command, words)


def _without_checkpoints(lab: Lab) -> Path:
    workdir = lab.copy()
    shutil.rmtree(workdir / "checkpoints")
    return workdir


FOREIGN_RUNS: list[Fault] = [
    functools.partial(_foreign_cache, "evaluate"),
    functools.partial(_foreign_cache, "predict"),
    _pickled,
    functools.partial(_no_run, "no such run", lambda lab: lab.folder / "nowhere", "evaluate", ["nowhere"]),
    functools.partial(_no_run, "no such run", lambda lab: lab.folder / "nowhere", "predict", ["nowhere"]),
    functools.partial(_no_run, "no checkpoints", _without_checkpoints, "evaluate", ["checkpoint"]),
    functools.partial(_no_run, "no checkpoints", _without_checkpoints, "predict", ["checkpoint"]),
]

_TYPOS: dict[str, tuple[dict[str, object], Sequence[str]]] = {
    "a field that is not there": ({"learning_rat": 0.1}, ["learning_rat"]),
    "NaN": ({"learning_rate": "nan"}, ["learning_rate"]),
    "a negative rate": ({"learning_rate": -1}, ["learning_rate"]),
    "no epochs": ({"num_epochs": 0}, ["num_epochs"]),
    "half an image": ({"batch_size": 1.5}, ["batch_size"]),
    "a batch larger than the data": ({"batch_size": 4096}, ["batch_size"]),
    "no such model": ({"model.name": "resnet999"}, ["resnet999"]),
    "an image of no pixels": ({"image_size": 0}, ["image_size"]),
    "text for a number": ({"batch_size": "many"}, ["batch_size"]),
    "no such source": ({"data.source": "ftp"}, ["ftp"]),
    "no such augmentation": ({"augment": "wild"}, ["wild"]),
    "a column that is not there": ({"data.levels.sub": "colour"}, ["colour"]),
}


def _typo(name: str, fields: dict[str, object], words: Sequence[str], lab: Lab) -> Iterator[Try]:
    """Checks that a typing mistake is refused in a sentence before anything is created."""
    workdir = lab.folder / "run"
    result = refused(name, lab.train(workdir, fields), words)
    yield Try(name, result.survived and not workdir.exists(), result.message)


TYPOS: list[Fault] = [functools.partial(_typo, name, fields, words) for name, (fields, words) in _TYPOS.items()]
