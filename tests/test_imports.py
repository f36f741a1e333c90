"""The order of the packages and where heavy libraries may be imported, read from the sources with ast."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from fashion_jax.workdir import paths

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "fashion_jax"
# The packages and root modules, from the lowest to the highest: each may import those before it.
ORDER = (
    *("errors", "json_text", "letters", "taxonomy", "atomic", "command_line", "terminal"),
    *("config", "devices", "ops", "data", "models", "scoring", "step", "workdir", "serving", "report", "training"),
    *("main", "evaluate", "predict", "prepare", "export", "demo"),
    *("__init__", "__main__"),
)
# Where a library may be imported. A trailing "(lazy)" allows it inside functions only.
HOMES = {
    "tensorflow": ("data", "workdir.metrics_file (lazy)", "serving.exports (lazy)"),
    "tensorflow_datasets": ("data",),
    "clu": ("workdir.metrics_file (lazy)",),
    "flax.linen": ("models",),
    "orbax": ("workdir.checkpoints",),
    "matplotlib": ("report.figures",),
}
HEAVY = ("jax", "jaxlib", "flax", "optax", "orbax", "tensorflow", "tensorflow_datasets", "clu")  # seconds to import
LIGHT = (
    "errors",
    "json_text",
    "letters",
    "taxonomy",
    "atomic",
    "command_line",
    "terminal",
    "config",
    "scoring",
)  # packages without any of HEAVY
MAX_FUNCTION_LINES = 40  # without the docstring
RUN_FILES = {
    paths.CONFIG,
    paths.TAXONOMY,
    paths.DATA,
    paths.ENVIRONMENT,
    paths.IMAGES,
    paths.METRICS,
    paths.CALIBRATION,
    paths.CHECKPOINTS,
    paths.VALIDATION,
}  # the other names of a work directory are ordinary words, such as "report"
NAMES_RUN_FILES = (
    "fashion_jax.workdir.paths",  # where all others take the names from
    "fashion_jax.data.sources.walk",  # recognizes a work directory among images; may not import workdir
    "fashion_jax.data.records.prepared_index",  # of a prepared folder, which is no work directory
    "fashion_jax.models.pretrained.source",  # reads timm's config.json, which is not a run's
)


class Import(NamedTuple):
    """One imported name: its dotted path, its line, and whether importing the module does not import it yet."""

    target: str
    line: int
    lazy: bool


def imports_of(tree: ast.Module, package: str) -> Iterator[Import]:
    """Yields every import of a module that lies in `package`; `from a import b` has the path a.b."""
    inside = {id(node) for later in filter(is_run_later, ast.walk(tree)) for node in ast.walk(later)}
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


def is_run_later(node: ast.AST) -> bool:
    """Tells whether a node is a function, or a block that only type checkers read."""
    is_for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    return is_for_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


class Project:
    """The parsed modules of a source tree: dotted name -> tree, imports, path."""

    def __init__(self, root: Path):
        self.trees, self.imports, self.paths = {}, {}, {}
        for folder in (PACKAGE, "configs", "benchmarks", "scripts"):
            for path in sorted(root.glob(f"{folder}/**/*.py")):
                parts = path.relative_to(root).with_suffix("").parts
                is_package = parts[-1] == "__init__"
                name = ".".join(parts[:-1] if is_package else parts)
                tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
                self.trees[name] = tree
                self.imports[name] = list(imports_of(tree, name if is_package else ".".join(parts[:-1])))
                self.paths[name] = path

    def module(self, target: str) -> str | None:
        """Returns the module of this project that an imported path names: a.b.c is a.b if c is no module."""
        parts = target.split(".")
        prefixes = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
        return next((prefix for prefix in prefixes if prefix in self.trees), None)

    def modules_of(self, package: str) -> list[str]:
        return [name for name in self.trees if is_within(name, package)]


@functools.cache
def this_project() -> Project:
    return Project(ROOT)


def is_within(name: str, *ancestors: str) -> bool:
    """Tells whether a dotted path is one of the ancestors or lies below one."""
    return any(name == ancestor or name.startswith(ancestor + ".") for ancestor in ancestors)


def box(module: str) -> str:
    """Returns the package or root module of fashion_jax that a module belongs to; a package's __main__ is a command."""
    if module.endswith(".__main__"):
        return "__main__"
    return module.split(".")[1] if "." in module else "__init__"


def without_a_place(project: Project) -> Iterator[str]:
    """Names the files that belong to no package of the order."""
    for name in project.modules_of(PACKAGE):
        if box(name) not in ORDER:
            yield f"{name} belongs to no package of the order"


def wrong_arrows(project: Project) -> Iterator[str]:
    """Names the imports of a package that stands later in the order, lazy ones included."""
    for name in project.modules_of(PACKAGE):
        for target, line, _ in project.imports[name]:
            other = project.module(target)
            if other is None or not is_within(other, PACKAGE) or other == PACKAGE or box(other) == box(name):
                continue
            if {box(name), box(other)} <= set(ORDER) and ORDER.index(box(other)) > ORDER.index(box(name)):
                yield f"{name}:{line} imports {other}, which stands after it in the order"


def cycles(project: Project) -> Iterator[str]:
    """Names each module that imports itself through others."""
    names = {*project.modules_of(PACKAGE), *project.modules_of("benchmarks")}
    edges = {name: {project.module(i.target) for i in project.imports[name]} & names - {name} for name in names}
    for start in sorted(names):
        seen, stack = set(), [start]
        while stack:
            new = edges[stack.pop()] - seen
            seen |= new
            stack.extend(new)
        if start in seen:
            yield f"{start} imports itself through {', '.join(sorted(seen - {start}))}"


def entangled_packages(project: Project) -> Iterator[str]:
    """Names the imports between two packages of one package whose modules import each other."""
    names = project.modules_of(PACKAGE)
    package = {name: name if project.paths[name].name == "__init__.py" else name.rpartition(".")[0] for name in names}
    pairs = {(name, project.module(i.target)) for name in names for i in project.imports[name]}
    pairs = {(name, other) for name, other in pairs if other in package and package[name] != package[other]}
    arrows = {(package[name], package[other]) for name, other in pairs}
    for name, other in sorted(pairs):
        here, there = package[name], package[other]
        if here.rpartition(".")[0] == there.rpartition(".")[0] and (there, here) in arrows:
            yield f"{name} imports {other}, although modules of {there} import those of {here}"


def misplaced_libraries(project: Project) -> Iterator[str]:
    """Names the imports of libraries outside of the only places that may know them."""
    for name in project.modules_of(PACKAGE):
        for target, line, lazy in project.imports[name]:
            library = next((library for library in HOMES if is_within(target, library)), None)
            if library is None:
                continue
            homes = [home.removesuffix(" (lazy)") for home in HOMES[library] if lazy or not home.endswith("(lazy)")]
            if not is_within(name, *(f"{PACKAGE}.{home}" for home in homes)):
                yield f"{name}:{line} may not import {target}{'' if lazy else ' (at its top)'}"


def heavy_where_light(project: Project) -> Iterator[str]:
    """Names what importing a light package would load of the heavy libraries, through any module of the package."""
    light = [name for name in project.modules_of(PACKAGE) if box(name) in LIGHT]
    seen, stack = set(), list(light)
    while stack:
        name = stack.pop()
        if name in seen or name not in project.trees:
            continue
        seen.add(name)
        if "." in name:
            stack.append(name.rpartition(".")[0])
        for target, line, lazy in project.imports[name]:
            if is_within(target, *HEAVY) and (not lazy or name in light):
                yield f"{', '.join(LIGHT)} load {target} at {name}:{line}"
            elif not lazy:
                stack.append(project.module(target))


def configs_that_import_the_package(project: Project) -> Iterator[str]:
    for name in project.modules_of("configs"):
        for target, line, _ in project.imports[name]:
            if is_within(target, PACKAGE):
                yield f"{name}:{line} is a config and may not import {target}"


def too_long(project: Project) -> Iterator[str]:
    """Names the functions over the limit, without their docstrings."""
    for name, tree in project.trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                doc = node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) is not None else 0
                length = node.end_lineno - node.lineno + 1 - doc
                if length > MAX_FUNCTION_LINES:
                    yield f"{name}:{node.lineno} {node.name} has {length} lines, over {MAX_FUNCTION_LINES}"


def names_of_run_files(project: Project) -> Iterator[str]:
    """Names the literals outside of workdir.paths that name a file or folder of a work directory."""
    for name in project.modules_of(PACKAGE):
        if name in NAMES_RUN_FILES:
            continue
        for node in ast.walk(project.trees[name]):
            value = node.value if isinstance(node, ast.Constant) else None
            found = RUN_FILES.intersection(value.split("/")) if isinstance(value, str) else set()
            if found:
                yield f"{name}:{node.lineno} spells out {', '.join(sorted(found))}: take it from workdir.paths"


RULES = (
    without_a_place,
    wrong_arrows,
    cycles,
    entangled_packages,
    misplaced_libraries,
    heavy_where_light,
    configs_that_import_the_package,
    too_long,
    names_of_run_files,
)

CLEAN = {
    "fashion_jax/__init__.py": "if TYPE_CHECKING:\n    from fashion_jax.training import train\n",
    "fashion_jax/main.py": "from absl import app\nfrom fashion_jax.training import train\n",
    "fashion_jax/training/train.py": "from fashion_jax.workdir import checkpoints\nimport jax\n",
    "fashion_jax/step/train_step.py": "from fashion_jax.step.train_state import TrainState\n",
    "fashion_jax/step/train_state.py": "from fashion_jax.models import create_model\n",
    "fashion_jax/scoring/metrics.py": "import numpy as np\n",
    "fashion_jax/config/loading.py": "from fashion_jax.errors import UserError\nimport jaxtyping\n",
    "fashion_jax/errors.py": "import json\n",
    "fashion_jax/workdir/checkpoints.py": "import orbax.checkpoint as ocp\n",
    "fashion_jax/workdir/metrics_file.py": "def f():\n    import tensorflow\n    from clu import metric_writers\n",
    "fashion_jax/data/batches/pipeline.py": "import tensorflow as tf\n",
    "fashion_jax/data/records/record_images.py": "import numpy as np\n",
    "fashion_jax/data/sources/table.py": "from fashion_jax.data.records.record_images import RecordNames\n",
    "fashion_jax/data/sources/walk.py": "import os\n",
    "fashion_jax/models/__init__.py": "from flax import linen as nn\nfrom fashion_jax.models import resnet\n",
    "fashion_jax/models/resnet.py": "import flax.linen as nn\nfrom .heads import Head\n",
    "fashion_jax/models/heads.py": "from flax import struct\n",
    "fashion_jax/report/figures/curves.py": "import matplotlib\n",
    "configs/mtl.py": "from configs import default\n",
    "configs/default.py": "from ml_collections import ConfigDict\n",
    "benchmarks/train_step.py": "from benchmarks.twin import compare\n",
    "benchmarks/twin.py": "import json\n",
}

PLANTED = [
    (without_a_place, "fashion_jax/utils.py", ""),
    (without_a_place, "fashion_jax/helpers/text.py", ""),
    (wrong_arrows, "fashion_jax/step/train_state.py", "from fashion_jax.training.train import train"),
    (wrong_arrows, "fashion_jax/errors.py", "import fashion_jax.step.train_state"),
    (wrong_arrows, "fashion_jax/training/train.py", "def f():\n    from fashion_jax import main"),
    (wrong_arrows, "fashion_jax/data/batches/pipeline.py", "from ...scoring.metrics import evaluate"),
    (wrong_arrows, "fashion_jax/models/__init__.py", "from ..step import train_state"),
    (cycles, "fashion_jax/models/heads.py", "from fashion_jax.models import resnet"),
    (cycles, "fashion_jax/models/heads.py", "def f():\n    from . import Classifier"),
    (cycles, "benchmarks/twin.py", "def f():\n    from benchmarks import train_step"),
    (entangled_packages, "fashion_jax/data/records/record_images.py", "from fashion_jax.data.sources import walk"),
    (misplaced_libraries, "fashion_jax/main.py", "import tensorflow as tf"),
    (misplaced_libraries, "fashion_jax/training/train.py", "def f():\n    from tensorflow.io import gfile"),
    (misplaced_libraries, "fashion_jax/workdir/metrics_file.py", "import tensorflow"),
    (misplaced_libraries, "fashion_jax/workdir/metrics_file.py", "from clu import metric_writers"),
    (misplaced_libraries, "fashion_jax/step/train_state.py", "from flax import linen"),
    (misplaced_libraries, "fashion_jax/step/train_state.py", "from flax.linen import Module"),
    (misplaced_libraries, "fashion_jax/training/train.py", "from orbax import checkpoint"),
    (misplaced_libraries, "fashion_jax/training/train.py", "def f():\n    import matplotlib.pyplot"),
    (heavy_where_light, "fashion_jax/config/loading.py", "import jax.numpy as jnp"),
    (heavy_where_light, "fashion_jax/config/loading.py", "def f():\n    import tensorflow"),
    (heavy_where_light, "fashion_jax/errors.py", "from jax import Array"),
    (heavy_where_light, "fashion_jax/__init__.py", "import optax"),
    (heavy_where_light, "fashion_jax/__init__.py", "from fashion_jax.training import train"),
    (heavy_where_light, "fashion_jax/scoring/metrics.py", "def f():\n    import jax"),
    (configs_that_import_the_package, "configs/mtl.py", "from fashion_jax.taxonomy import Taxonomy"),
    *(
        (too_long, f"{name}.py", "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES)
        for name in ("fashion_jax/errors", "configs/mtl", "benchmarks/twin", "scripts/new")
    ),
    (names_of_run_files, "fashion_jax/training/train.py", "path = workdir / 'metrics.jsonl'"),
    (names_of_run_files, "fashion_jax/errors.py", "path = f'{workdir}/predictions/validation.parquet'"),
]


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps(rule):
    assert list(rule(this_project())) == []


def test_the_project_is_seen():
    modules = this_project().trees
    assert {"fashion_jax", "fashion_jax.config.loading", "fashion_jax.models", "fashion_jax.step.train_state"} <= {
        *modules
    }
    others = {"configs.default", "configs.mtl", "benchmarks.train_step", "scripts.make_parity_reference"}
    assert others <= modules.keys()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_nothing_is_found_in_a_clean_tree(rule, tmp_path):
    assert list(rule(Project(write_tree(tmp_path, CLEAN)))) == []


@pytest.mark.parametrize(("rule", "name", "planted"), PLANTED)
def test_a_planted_violation_is_found(rule, name, planted, tmp_path):
    project = Project(write_tree(tmp_path, CLEAN | {name: CLEAN.get(name, "") + planted + "\n"}))
    found = list(rule(project))
    assert found
    assert any(name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") in line for line in found)


def test_few_boxes_and_arrows():
    project = this_project()
    modules = project.modules_of(PACKAGE)
    others = {name: {project.module(i.target) for i in project.imports[name]} for name in modules}
    arrows = {(box(name), box(other)) for name in modules for other in others[name] if is_within(other or "", PACKAGE)}
    assert len({box(name) for name in modules}) <= 26
    assert len({(one, other) for one, other in arrows if one != other and other != "__init__"}) <= 124


def test_few_functions_take_a_whole_config():
    """Those that build something from it; all others take the fields that they need."""
    project = this_project()
    nodes = [node for name in project.modules_of(PACKAGE) for node in ast.walk(project.trees[name])]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    parameters = [x for f in functions for x in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs)]
    taking = [x for x in parameters if x.annotation is not None and "ConfigDict" in ast.unparse(x.annotation)]
    assert 0 < len(taking) < 45


def test_scoring_is_imported_without_jax():
    modules = [name for name in this_project().modules_of(f"{PACKAGE}.scoring")]
    program = f"import sys\nfor name in {HEAVY!r}: sys.modules[name] = None\nimport {', '.join(modules)}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_package_is_imported_without_libraries():
    program = "import fashion_jax, sys; print(sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    libraries = {*ast.literal_eval(done.stdout)} - sys.stdlib_module_names
    assert "fashion_jax" in libraries and not libraries & {*HEAVY, "numpy", "ml_collections", "PIL"}


def test_the_classifier_is_imported_without_jax_and_orbax():
    """An export needs neither; only the engine of a run does, and not TensorFlow either."""
    program = f"import sys\nfor name in {HEAVY!r}: sys.modules[name] = None\n"
    program += "import fashion_jax as fj; fj.load, fj.Classifier, fj.Answer, fj.get_config\n"
    program += "import fashion_jax.serving.exports.engines\n"
    program += f"for name in {HEAVY[:3]!r}: del sys.modules[name]\nimport fashion_jax.serving.exports.stablehlo\n"
    program += f"for name in {HEAVY[3:5]!r}: del sys.modules[name]\nimport fashion_jax.serving.engine"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
