"""The files around the package keep their promises: pinned versions, commands that exist, scripts that set up .venv."""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import fashion_jax

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
IGNORED = {".git", ".venv", ".wheels", "__pycache__", "runs"}
IMPORT_NAMES = {"absl": "absl-py", "orbax": "orbax-checkpoint", "PIL": "pillow", "sklearn": "scikit-learn"}
IMPORT_NAMES |= {"tensorflow": "tensorflow-cpu"}
SERVER = {ROOT / "fashion_jax" / "serving" / "demo" / name for name in ("server.py", "uploads.py")}
INDEX_ADDRESS = re.compile(
    r"--(extra-)?index-url|--find-links|\bpypi\.org|pythonhosted\.org|://\S+/(simple|whl)\b|jax-releases", re.I
)
COMMAND = re.compile(r"python -m ((?:fashion_jax|benchmarks)(?:\.\w+)+)|((?:scripts|configs)/[\w./-]*\w)")


def project_files() -> list[Path]:
    """Returns the files that belong to the project, whether or not it is a git checkout."""
    files = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in IGNORED and not name.endswith("_cache")]
        files += [Path(folder, name) for name in names]
    return files


def pin_lines() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def pins(python: str) -> dict[str, str]:
    """Returns the version of each library that is pinned for a Python version, such as "3.12"."""
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    pinned = [pin for pin in pin_lines() if pin.marker is None or pin.marker.evaluate(environment)]
    assert len({pin.name for pin in pinned}) == len(pinned), "a library is pinned twice for the same Python"
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in pinned}


def project_table() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements() -> list[Requirement]:
    table = project_table()
    extras = table["optional-dependencies"].values()
    return [Requirement(line) for line in [*table["dependencies"], *(line for extra in extras for line in extra)]]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_requirement_is_pinned_within_its_range(requirement, python):
    version = pins(python).get(canonicalize_name(requirement.name))
    assert version is not None
    assert requirement.specifier.contains(version)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_pins_are_exact_sorted_and_canonical(python):
    names = list(pins(python))
    assert names == sorted({canonicalize_name(name) for name in names})
    assert all(re.fullmatch(r"\d+(\.\w+)*", version) for version in pins(python).values())


def test_every_pin_holds_for_some_python():
    assert {pin.name for pin in pin_lines()} == {name for python in PYTHONS for name in pins(python)}


def test_the_package_admits_the_pythons_that_versions_are_pinned_for():
    admitted = SpecifierSet(project_table()["requires-python"])
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}.0" in admitted] == list(PYTHONS)


@pytest.mark.parametrize("python", PYTHONS)
def test_the_accelerators_plugins_are_pinned(python):
    pinned = pins(python)
    assert pinned["jax"] == pinned["jaxlib"] == pinned["jax-cuda12-plugin"] == pinned["jax-cuda12-pjrt"]
    assert "libtpu" in pinned


def test_whoever_installs_the_package_gets_its_types():
    """Type checkers read a package's annotations only where its wheel has the file py.typed (PEP 561)."""
    target = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert target["wheel"]["packages"] == ["fashion_jax", "configs"]  # the whole folders, nothing left out
    assert not {"include", "exclude", "only-include"} & target["wheel"].keys()
    assert (ROOT / "fashion_jax" / "py.typed").is_file()


def test_the_wheel_has_no_top_level_module_besides_the_package():
    target = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert target["wheel"]["sources"] == {"configs": "fashion_jax/configs"}


def test_the_version_of_the_package_is_the_projects():
    assert project_table()["version"] == fashion_jax.__version__


@pytest.mark.long
def test_the_wheel_works_in_an_empty_folder(tmp_path):
    """Installed into an environment of its own, which finds the libraries of this one."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", tmp_path / "wheel", ROOT], check=True)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    bin_folder, (wheel,), empty = tmp_path / "venv" / "bin", (tmp_path / "wheel").iterdir(), tmp_path / "empty"
    subprocess.run([bin_folder / "python", "-m", "pip", "install", "-q", "--no-deps", wheel], check=True)
    assert not (packages / "configs").exists()
    empty.mkdir()
    small = ["--config.data.catalogue.num_images=200", "--config.num_epochs=1"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    for arguments, found in (
        (["--version"], fashion_jax.__version__),
        (["train", "--help"], "usage: fashion-jax train"),
        (["train", "--config", "smoke", *small], "report/index.html"),
    ):
        command = [bin_folder / "fashion-jax", *arguments]
        done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and found in done.stdout, done.stderr
    assert (empty / "runs" / "smoke" / "report" / "index.html").is_file()


def test_every_library_the_package_imports_at_its_top_is_a_dependency():
    """Only the demo's server, which is imported when it is started, imports the libraries of an extra at its top."""
    declared = {canonicalize_name(Requirement(line).name) for line in project_table()["dependencies"]}
    imported = set()
    for path in set((ROOT / "fashion_jax").rglob("*.py")) - SERVER:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    libraries = imported - sys.stdlib_module_names - {"fashion_jax", "__future__"}
    assert "jax" in libraries
    assert {canonicalize_name(IMPORT_NAMES.get(name, name)) for name in libraries} <= declared


def test_no_file_has_marks_of_a_merge():
    marks = re.compile(rb"^(<{7}|>{7}|={7})( |$)", re.M)
    assert [path for path in project_files() if path.suffix != ".png" and marks.search(path.read_bytes())] == []


def test_no_file_names_an_index_address():
    found = []
    for path in project_files():
        if path != Path(__file__) and INDEX_ADDRESS.search(path.read_bytes().decode("utf-8", "ignore")):
            found.append(path.relative_to(ROOT))
    assert found == []


@pytest.mark.parametrize("line", ["pip install --index-url x", "-f http://a.b/whl/cpu", "https://PyPI.org/project/jax"])
def test_an_index_address_would_be_found(line):
    assert INDEX_ADDRESS.search(line)


def missing_commands(text: str) -> list[str]:
    """Returns the modules, scripts and configs that a page names and the project lacks."""
    modules = {module for module, _ in COMMAND.findall(text) if module}
    paths = {path for _, path in COMMAND.findall(text) if path}
    lacking = [m for m in modules if not is_command(ROOT / m.replace(".", "/"))]
    return sorted(lacking + [path for path in paths if not (ROOT / path).exists()])


def is_command(path: Path) -> bool:
    """Tells whether python -m finds a module, or a package with a __main__, at a path without its suffix."""
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def test_the_commands_of_the_pages_exist():
    pages = [path for path in project_files() if path.suffix == ".md"]
    assert {str(page.relative_to(ROOT)): missing_commands(page.read_text(encoding="utf-8")) for page in pages} == {
        str(page.relative_to(ROOT)): [] for page in pages
    }


def test_a_missing_command_would_be_found():
    page = "`python -m fashion_jax.nothing`, scripts/train and `scripts/nothing --all`, --config configs/nothing.py."
    assert missing_commands(page) == ["configs/nothing.py", "fashion_jax.nothing", "scripts/nothing"]


FAKE_PYTHON = r"""#!/usr/bin/env bash
case "$1 $2" in
"-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m pip") [[ "$3" == --version ]] || { echo "$*" >>"$LOG" && exit "${PIP_STATUS:-0}"; } ;;
"-m ruff" | "-m mypy" | "-m pytest") echo "$PWD: $*" ;;
"-m fashion_jax.main") echo "$PWD: $*" && exit 75 ;;
esac
"""


class Checkout:
    """A copy of the scripts under a path with a space, and a Python 3.11 that only records its arguments."""

    def __init__(self, folder: Path):
        self.root, self.log, self.bin = folder / "a project", folder / "log", folder / "bin"
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.root)
        self.bin.mkdir()
        (self.bin / "python3.11").write_text(FAKE_PYTHON, encoding="utf-8")
        (self.bin / "python3.11").chmod(0o755)

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        variables = {"PATH": f"{self.bin}:{os.environ['PATH']}", "LOG": str(self.log), "JAX_PLATFORMS": "cpu"}
        command = [str(self.root / "scripts" / script), *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=self.bin, env=variables | environment)

    def installs(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_train_sets_up_once_and_passes_arguments_and_status_on(checkout):
    first = checkout.run("train", "--config.seed=1", "two words")
    assert first.returncode == 75
    assert first.stdout == (f"{checkout.root}: -m fashion_jax.main --config configs/mtl.py --config.seed=1 two words\n")
    assert "is ready" in first.stderr
    second = checkout.run("train")
    assert second.returncode == 75
    assert second.stderr.count("\n") == 1 and f"in {checkout.root}, where relative paths start" in second.stderr
    assert checkout.installs() == ["-m pip install -qq --compile -c constraints.txt -e ."]


@pytest.mark.parametrize("arguments", [("--config", "mine.py"), ("--config=mine.py",), ("-config", "mine.py")])
def test_train_takes_the_config_that_is_given(checkout, arguments):
    assert checkout.run("train", *arguments).stdout == (f"{checkout.root}: -m fashion_jax.main {' '.join(arguments)}\n")


def test_an_environment_whose_set_up_failed_is_made_anew(checkout):
    failed = checkout.run("bootstrap", PIP_STATUS="1")
    assert failed.returncode == 1
    assert "pip could not install" in failed.stderr
    left_over = checkout.root / ".venv" / "left_over"
    left_over.touch()
    assert checkout.run("bootstrap").returncode == 0
    assert not left_over.exists()


def test_a_moved_environment_is_made_anew(checkout):
    checkout.run("bootstrap", "dev")
    (checkout.root / ".venv" / "left_over").touch()
    checkout.root = checkout.root.rename(checkout.root.parent / "moved")
    assert checkout.run("bootstrap").returncode == 0
    assert not (checkout.root / ".venv" / "left_over").exists()
    assert checkout.installs()[-1].endswith("-e .[dev]")


def test_new_extras_and_new_pins_are_added_to_the_environment(checkout):
    checkout.run("bootstrap", "dev")
    (checkout.root / ".venv" / "kept").touch()
    checkout.run("bootstrap", "cuda")
    with (checkout.root / "constraints.txt").open("a", encoding="utf-8") as file:
        file.write("zzz==1.0\n")
    checkout.run("bootstrap")
    checkout.run("bootstrap", "dev")
    assert [line.rpartition(" ")[2] for line in checkout.installs()] == [".[dev]", ".[cuda,dev]", ".[cuda,dev]"]
    assert (checkout.root / ".venv" / "kept").exists()


def test_a_machine_without_python_is_told_so(checkout):
    for name in ("python3.11", "python3.12", "python3.13", "python3"):
        (checkout.bin / name).write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        (checkout.bin / name).chmod(0o755)
    result = checkout.run("train")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "no Python 3.11" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((), "-m not long"), (("--all",), ""), (("tests/test_x.py", "--all", "-k", "a"), "tests/test_x.py -k a")],
)
def test_the_code_is_checked_and_the_tests_are_selected(checkout, arguments, expected):
    pytest_arguments = f"-m pytest -n auto --maxprocesses 4 --dist worksteal {expected}".rstrip()
    called = [line.partition(": ")[2] for line in checkout.run("test", *arguments).stdout.splitlines()]
    assert called == ["-m ruff check", "-m ruff format --check", "-m mypy", pytest_arguments]


@pytest.mark.parametrize("name", ["scripts/bootstrap", "scripts/train", "scripts/test", ".ci/run"])
def test_the_scripts_are_executable(name):
    assert os.access(ROOT / name, os.X_OK)
