"""Finds config files, by path or by name, and runs them.

The project's own configs lie inside the installed package, or beside it in a checkout. A config file imports them as
`configs`, for example `from configs import default`. That name exists only while a config file runs, so that it neither
hides a package of the same name that a user has, nor is hidden by one.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from fashion_jax.errors import UserError

_PACKAGE = "configs"
_running = threading.Lock()  # one config file runs at a time, since modules are known to the whole process


def configs_folder() -> Path:
    """Returns the folder of the project's own configs."""
    package = Path(__file__).resolve().parent.parent
    inside = package / _PACKAGE
    return inside if inside.is_dir() else package.parent / _PACKAGE


def config_names() -> list[str]:
    """Returns the names of the project's own configs, sorted, such as "mtl"."""
    return sorted(path.stem for path in configs_folder().glob("*.py") if path.stem != "__init__")


def find_config(name: str) -> Path:
    """Returns the path of a config file.

    Args:
        name: a path of a Python file, or the name of one of the project's own configs.

    Raises:
        UserError: there is no such file.
    """
    if name in config_names():
        return configs_folder() / f"{name}.py"
    path = Path(os.path.expanduser(name))
    if os.path.isfile(path) and path.suffix == ".py":
        return path
    close = difflib.get_close_matches(path.stem, config_names(), n=1, cutoff=0.6) if path.suffix in ("", ".py") else []
    hint = f"; did you mean {close[0]}?" if close else "."
    raise UserError(
        f"{name!r} is not a config file{hint} Name one of {', '.join(config_names())}, a Python file with "
        "get_config(), or a run's config.json."
    )


def run_config_file(path: Path) -> Any:
    """Returns what get_config() of a Python file returns. The file is executed."""
    with _running, _configs_for(path):
        return _executed(f"_config_{path.stem}", path).get_config()


@contextlib.contextmanager
def _configs_for(path: Path) -> Iterator[None]:
    """Makes `configs` importable: the folder of the file if that is a `configs` with a default.py, else the project's.

    A file of a user's also finds the packages beside its own folder. Afterwards all is as before.
    """
    folder, root = path.resolve().parent, str(path.resolve().parent.parent)
    is_own = folder.name == _PACKAGE and (folder / "default.py").is_file()
    before, searched = _take_out(), list(sys.path)
    try:
        if folder != configs_folder():
            sys.path.append(root)
        init = (folder if is_own else configs_folder()) / "__init__.py"
        sys.modules[_PACKAGE] = _executed(_PACKAGE, init, [str(init.parent)])
        yield
    finally:
        _take_out()
        sys.modules.update(before)
        sys.path[:] = searched


def _executed(name: str, path: Path, submodules: list[str] | None = None) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=submodules)
    assert spec is not None and spec.loader is not None  # always, for a file that ends in .py
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _take_out() -> dict[str, ModuleType]:
    """Removes `configs` and all below it from the imported modules, and returns them."""
    names = [name for name in sys.modules if name.split(".")[0] == _PACKAGE]
    return {name: sys.modules.pop(name) for name in names}
