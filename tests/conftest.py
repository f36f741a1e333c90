"""Fixtures of all tests: eight fake CPU devices, and tiny runs."""

import fcntl
import os
import shutil

# before anything imports jax
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Eight devices on a busy machine of two cores may wait for each other longer than the 40 s after which XLA aborts.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + (
    " --xla_force_host_platform_device_count=8 --xla_cpu_collective_call_terminate_timeout_seconds=600"
)
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes of tests share a GPU
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from fashion_jax.config.loading import check_config, load_config
from fashion_jax.training import run_end
from fashion_jax.training.train import train_and_evaluate
from tests.shop import shop_config
from tests.small_trunks import shrink_resnet10
from tests.tfds_sets import TAXONOMY, write_set

ROOT = Path(__file__).parent.parent
PATIENT = os.environ["XLA_FLAGS"].split()[-1]  # the flag for the devices of other processes


def shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """Returns a folder that all of pytest-xdist's workers share."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compiles the small step once for all the tests that train it."""
    jax.config.update("jax_compilation_cache_dir", str(shared_folder(tmp_path_factory, "compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@pytest.fixture(scope="session", autouse=True)
def small_resnet10() -> Iterator[None]:
    """Makes resnet10 a small network, for tests of what a run does around it.

    Tests that depend on the network use resnet34 and vgg16; commands in processes of their own use the real resnet10.
    """
    with pytest.MonkeyPatch.context() as patch:
        shrink_resnet10(patch)
        yield


@pytest.fixture(scope="session")
def catalogue_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Sets the default cache, with which runs are evaluated: no command takes the cache from a run's config.json."""
    root = shared_folder(tmp_path_factory, "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root))
        yield str(root / "fashion_jax")


@pytest.fixture
def tiny_config(catalogue_cache: str) -> ConfigDict:
    return _tiny_config(catalogue_cache)


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets runs end without drawing their page and figures, for tests of training alone."""
    monkeypatch.setattr(run_end, "_write_report", lambda run, directory, *results: (directory / "index.html").touch())


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, catalogue_cache: str) -> Path:
    """Returns the workdir of a finished run of tiny_config, for tests that only read it.

    The first of pytest-xdist's workers trains it, and each of them has a copy.
    """
    trained = shared_folder(tmp_path_factory, "finished")
    with trained.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not trained.exists():
            unfinished = trained.with_suffix(".unfinished")
            train_and_evaluate(_tiny_config(catalogue_cache), unfinished)
            unfinished.rename(trained)
    return shutil.copytree(trained, tmp_path_factory.mktemp("runs") / "finished")


def _tiny_config(catalogue_cache: str) -> ConfigDict:
    """Returns configs/smoke.py with 200 generated images: 10 steps of 16 images per epoch, 40 validation images."""
    config = load_config(str(ROOT / "configs" / "smoke.py"))
    config.batch_size = 16
    config.num_epochs = 2
    config.data.cache_dir = catalogue_cache
    config.data.catalogue.num_images = 200
    return config


@pytest.fixture(scope="session")
def sets(tmp_path_factory) -> dict[str, Path]:
    """Returns the TFDS directory of a small set in each format."""
    root = tmp_path_factory.mktemp("tfds")
    return {name: write_set(root / name, name) for name in ("array_record", "tfrecord")}


@pytest.fixture
def config_of(tmp_path):
    """Returns a function that makes the config of a run on a TFDS directory."""

    def config_of(path, **data):
        (tmp_path / "classes.yaml").write_text(TAXONOMY)
        fields = {"source": "tfds", "taxonomy": str(tmp_path / "classes.yaml"), "cache_dir": str(tmp_path / "cache")}
        fields |= {"levels": {"main": "", "sub": "label"}, "splits": {"train": "train", "validation": "test"}}
        config = shop_config(path, **(fields | data))
        check_config(config)
        return config

    return config_of
