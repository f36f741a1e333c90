"""Which module may import which, and how long files and functions may be: read from the sources with ast."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "fashion_jax"
COMMANDS = ("main", "evaluate", "predict", "export", "prepare", "sweep", "demo")
LAYERS = (
    COMMANDS,
    ("pages", "suspects"),
    ("train", "trained", "transfer", "explanations"),
    ("results", "rollback"),
    ("run",),
    ("evaluation",),
    ("train_step",),
    ("train_state",),
)  # all else: leaves, the last layer
HEAVY = ("jax", "jaxlib", "flax", "optax", "orbax", "tensorflow", "tensorflow_datasets", "clu")  # seconds to import
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60


class Import(NamedTuple):
    """One imported name: its dotted path, its line, and whether it waits for a function to be called."""

    target: str
    line: int
    lazy: bool


def imports_of(tree: ast.Module, package: str) -> Iterator[Import]:
    """Every import of a module that stands in `package`; of `from a import b` the path is a.b."""
    functions = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = [*parents, *filter(None, [node.module])]
            targets = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        yield from (Import(target, node.lineno, id(node) in inside) for target in targets)


class Project:
    """The parsed modules of a source tree: dotted name -> tree, imports, path."""

    def __init__(self, root: Path):
        self.trees, self.imports, self.paths = {}, {}, {}
        for path in sorted([*root.glob(f"{PACKAGE}/**/*.py"), *root.glob("configs/**/*.py")]):
            parts = path.relative_to(root).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
            self.trees[name] = tree
            self.imports[name] = list(imports_of(tree, name if is_package else ".".join(parts[:-1])))
            self.paths[name] = path

    def module(self, target: str) -> str | None:
        """The module of this project that an imported path names: a.b.c is a.b where c is no module."""
        parts = target.split(".")
        prefixes = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
        return next((prefix for prefix in prefixes if prefix in self.trees), None)

    def package_modules(self) -> list[str]:
        return [name for name in self.trees if is_within(name, PACKAGE)]


def is_within(name: str, *ancestors: str) -> bool:
    """Whether a dotted path is one of the ancestors or lies under one."""
    return any(name == ancestor or name.startswith(ancestor + ".") for ancestor in ancestors)


def layer(module: str) -> int:
    """The place of a module in the order main, train, evaluation, train_step, train_state, leaves."""
    name = module.removeprefix(PACKAGE + ".")
    return next((index for index, names in enumerate(LAYERS) if name in names), len(LAYERS))


def wrong_arrows(project: Project) -> Iterator[str]:
    """Imports of a module that stands in an earlier layer, lazy ones included."""
    for name in project.package_modules():
        for target, line, _ in project.imports[name]:
            other = project.module(target)
            if other is not None and is_within(other, PACKAGE) and layer(other) < layer(name):
                yield f"{name}:{line} imports {other}, which stands before it"


def cycles(project: Project) -> Iterator[str]:
    """Modules of the package that reach themselves, each named once."""
    names = set(project.package_modules())
    edges = {name: {project.module(i.target) for i in project.imports[name]} & names - {name} for name in names}
    for start in sorted(names):
        seen, stack = set(), [start]
        while stack:
            new = edges[stack.pop()] - seen
            seen |= new
            stack.extend(new)
        if start in seen:
            yield f"{start} imports itself through {', '.join(sorted(seen - {start}))}"


def misplaced_libraries(project: Project) -> Iterator[str]:
    """tensorflow, flax.linen and orbax outside of the only places that may know them."""
    for name in project.package_modules():
        in_writers = name == f"{PACKAGE}.writers"
        for target, line, lazy in project.imports[name]:
            if is_within(target, "tensorflow", "tensorflow_datasets", "clu"):
                allowed = (in_writers and lazy) or (is_within(name, f"{PACKAGE}.data") and not is_within(target, "clu"))
            elif is_within(target, "flax.linen"):
                allowed = is_within(name, f"{PACKAGE}.models")
            elif is_within(target, "orbax"):
                allowed = name in (f"{PACKAGE}.checkpoint_writer", f"{PACKAGE}.restoring")
            else:
                continue
            if not allowed:
                yield f"{name}:{line} may not import {target}{'' if lazy else ' (at its top)'}"


def heavy_config(project: Project) -> Iterator[str]:
    """What importing config.py would load of the heavy libraries, through any module of the package."""
    seen, stack = set(), [f"{PACKAGE}.config"]
    while stack:
        name = stack.pop()
        if name in seen or name not in project.trees:
            continue
        seen.add(name)
        if "." in name:
            stack.append(name.rpartition(".")[0])
        for target, line, lazy in project.imports[name]:
            if is_within(target, *HEAVY) and (not lazy or name == f"{PACKAGE}.config"):
                yield f"config.py loads {target} at {name}:{line}"
            elif not lazy:
                stack.append(project.module(target))


def configs_that_import_the_package(project: Project) -> Iterator[str]:
    for name in project.trees:
        for target, line, _ in project.imports[name] if is_within(name, "configs") else ():
            if is_within(target, PACKAGE):
                yield f"{name}:{line} is a config and may not import {target}"


def too_long(project: Project) -> Iterator[str]:
    """Files and functions of the package over the limits, docstrings and signatures counted."""
    for name in project.package_modules():
        lines = len(project.paths[name].read_text(encoding="utf-8").splitlines())
        if lines > MAX_FILE_LINES:
            yield f"{name} has {lines} lines, over {MAX_FILE_LINES}"
        for node in ast.walk(project.trees[name]):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    yield f"{name}:{node.lineno} {node.name} has {length} lines, over {MAX_FUNCTION_LINES}"


RULES = (wrong_arrows, cycles, misplaced_libraries, heavy_config, configs_that_import_the_package, too_long)

CLEAN = {
    "fashion_jax/__init__.py": "",
    "fashion_jax/main.py": "from absl import app\nfrom fashion_jax import config, train\n",
    "fashion_jax/train.py": "from fashion_jax import evaluation, train_step\nimport jax\n",
    "fashion_jax/evaluation.py": "from fashion_jax.train_step import eval_step\n",
    "fashion_jax/train_step.py": "from fashion_jax.train_state import TrainState\n",
    "fashion_jax/train_state.py": "from fashion_jax.models import create_model\n",
    "fashion_jax/config.py": "from fashion_jax.errors import UserError\nimport jaxtyping\n",
    "fashion_jax/errors.py": "import json\n",
    "fashion_jax/restoring.py": "import orbax.checkpoint as ocp\n",
    "fashion_jax/writers.py": "def create():\n    import tensorflow as tf\n    from clu import metric_writers\n",
    "fashion_jax/data/pipeline.py": "import tensorflow as tf\n",
    "fashion_jax/models/__init__.py": "from flax import linen as nn\nfrom fashion_jax.models import resnet\n",
    "fashion_jax/models/resnet.py": "import flax.linen as nn\nfrom .heads import Head\n",
    "fashion_jax/models/heads.py": "from flax import struct\n",
    "configs/mtl.py": "from configs import default\n",
    "configs/default.py": "from ml_collections import ConfigDict\n",
}

PLANTED = [
    (wrong_arrows, "fashion_jax/train_state.py", "from fashion_jax.train_step import train_step"),
    (wrong_arrows, "fashion_jax/errors.py", "import fashion_jax.train_state"),
    (wrong_arrows, "fashion_jax/train.py", "def f():\n    from fashion_jax import main"),
    (wrong_arrows, "fashion_jax/data/pipeline.py", "from ..evaluation import evaluate"),
    (wrong_arrows, "fashion_jax/models/__init__.py", "from .. import train_state"),
    (cycles, "fashion_jax/models/heads.py", "from fashion_jax.models import resnet"),
    (cycles, "fashion_jax/models/heads.py", "def f():\n    from . import Classifier"),
    (misplaced_libraries, "fashion_jax/main.py", "import tensorflow as tf"),
    (misplaced_libraries, "fashion_jax/train.py", "def f():\n    from tensorflow.io import gfile"),
    (misplaced_libraries, "fashion_jax/writers.py", "import tensorflow"),
    (misplaced_libraries, "fashion_jax/writers.py", "from clu import metric_writers"),
    (misplaced_libraries, "fashion_jax/train_state.py", "from flax import linen"),
    (misplaced_libraries, "fashion_jax/train_state.py", "from flax.linen import Module"),
    (misplaced_libraries, "fashion_jax/train.py", "from orbax import checkpoint"),
    (heavy_config, "fashion_jax/config.py", "import jax.numpy as jnp"),
    (heavy_config, "fashion_jax/config.py", "def f():\n    import tensorflow"),
    (heavy_config, "fashion_jax/errors.py", "from jax import Array"),
    (heavy_config, "fashion_jax/__init__.py", "import optax"),
    (configs_that_import_the_package, "configs/mtl.py", "from fashion_jax.hierarchy import Taxonomy"),
    (too_long, "fashion_jax/errors.py", "x = 1\n" * MAX_FILE_LINES),
    (too_long, "fashion_jax/errors.py", "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES),
]


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps(rule):
    assert list(rule(Project(ROOT))) == []


def test_the_project_is_seen():
    modules = Project(ROOT).trees
    assert {"fashion_jax", "fashion_jax.config", "fashion_jax.models", "fashion_jax.train_state"} <= modules.keys()
    assert {"configs.default", "configs.mtl"} <= modules.keys()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_nothing_is_found_in_a_clean_tree(rule, tmp_path):
    assert list(rule(Project(write_tree(tmp_path, CLEAN)))) == []


@pytest.mark.parametrize(("rule", "name", "planted"), PLANTED)
def test_a_planted_violation_is_found(rule, name, planted, tmp_path):
    project = Project(write_tree(tmp_path, CLEAN | {name: CLEAN[name] + planted + "\n"}))
    found = list(rule(project))
    assert found
    assert any(name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") in line for line in found)
