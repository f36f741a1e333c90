"""The cache of compiled programs: where it is, and that a run from it is bit-identical."""

import os

import jax
import pytest

from fashion_jax.devices.compilation_cache import enable_compilation_cache, keeps_programs
from fashion_jax.training.train import train_and_evaluate
from tests.run_files import digests, without_timing


@pytest.fixture
def cache_dir():
    """Sets the folder of the cache for a test; the session's is put back."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}

    def use(folder):
        jax.config.update("jax_compilation_cache_dir", folder)

    yield use
    for name, value in before.items():
        jax.config.update(name, value)


SETTINGS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


def test_it_lies_in_the_cache_of_the_config(cache_dir, tmp_path):
    cache_dir(None)
    enable_compilation_cache(str(tmp_path))
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "compiled")


def test_programs_are_kept_where_they_can_be_written_and_in_stores(cache_dir, tmp_path, monkeypatch):
    cache_dir(str(tmp_path / "mine"))
    assert keeps_programs()
    monkeypatch.chdir(tmp_path)
    cache_dir("gs://bucket/compiled")
    assert keeps_programs() and os.listdir(tmp_path) == ["mine"]  # and no folder called gs:
    (tmp_path / "file").touch()
    cache_dir(str(tmp_path / "file"))
    assert not keeps_programs()


def test_a_folder_that_is_set_stays(cache_dir, tmp_path):
    cache_dir(str(tmp_path / "mine"))
    enable_compilation_cache(str(tmp_path))
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")


@pytest.mark.usefixtures("no_report")
def test_a_run_from_the_cache_is_bit_identical(tiny_config, finished_run, tmp_path, caplog):
    """finished_run has filled the session's cache, which other processes of the session fill at the same time."""
    with caplog.at_level("DEBUG", logger="jax._src.compiler"):
        train_and_evaluate(tiny_config, tmp_path)
    said = [record.getMessage().lower() for record in caplog.records]
    of_step = [text for text in said if "cache" in text and "'jit_train_step'" in text]
    assert any("cache hit" in text for text in of_step)
    assert not any("cache miss" in text for text in of_step)
    assert without_timing(tmp_path) == without_timing(finished_run)
    assert digests(tmp_path, 20) == digests(finished_run, 20)
