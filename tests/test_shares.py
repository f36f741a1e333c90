"""Processes divide work and exchange the results; here they are threads, which exchange values by a barrier."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fashion_jax.data.decoding import file_check
from fashion_jax.data.decoding.file_check import Checked, check_files
from fashion_jax.data.strings import Files, Strings
from fashion_jax.devices import shares as shares_module
from fashion_jax.devices.shares import Share, share_of, shares
from tests.shop import smallest_image


@pytest.fixture
def together(monkeypatch) -> Callable:
    """Returns a function that calls others as the processes of one run, and returns their results."""

    def together(works):
        barrier, values, local = threading.Barrier(len(works), timeout=300), {}, threading.local()

        def exchange(name, value, decide):
            values[local.index] = name, value
            barrier.wait()
            assert len({asked for asked, _ in values.values()}) == 1
            decided = decide([values[i][1] for i in range(len(works))])
            barrier.wait()
            return decided

        def run(index):
            local.index = index
            return works[index]()

        monkeypatch.setattr(shares_module, "exchange", exchange)
        monkeypatch.setattr("jax.process_index", lambda: local.index)
        with ThreadPoolExecutor(len(works)) as pool:
            return list(pool.map(run, range(len(works))))

    return together


@pytest.mark.parametrize("count", [0, 1, 7, 100])
def test_every_result_comes_to_every_process(monkeypatch, together, count):
    monkeypatch.setattr(shares_module, "_PER_ROUND", 9)  # several rounds

    def work():
        share = share_of("squares", "same", count)
        own = share.of(count)
        gathered = share.gather("squares", [int(i) ** 2 for i in own])
        return len(own), {int(i): value for places, found in gathered for i, value in zip(places, found, strict=True)}

    found = together([work] * 3)
    assert sum(done for done, _ in found) == count
    assert all(results == {i: i * i for i in range(count)} for _, results in found)


def test_only_processes_with_the_same_things_share_them():
    found = shares([("a", 5), ("b", 5), ("a", 5), ("a", 6)])
    assert [share.members for share in found] == [(0, 2), (1,), (0, 2), (3,)]
    assert [share.of(5).tolist() for share in found[:3]] == [[0, 2, 4], [0, 1, 2, 3, 4], [1, 3]]
    assert {share.rounds for share in found} == {1}, "all take part, also those that share with none"
    assert {share.rounds for share in shares([("a", 5), ("b", 5)])} == {0}
    assert Share().is_whole and Share().of(3).tolist() == [0, 1, 2]


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Returns the paths of the files that the check reads."""
    paths = []

    def noted(file, read=file_check._read):
        paths.append(file)
        return read(file)

    monkeypatch.setattr(file_check, "_read", noted)
    return paths


def write_files(folder: Path) -> Files:
    """Writes 10 images, of which 3 and 8 are broken in the same way, and 6 is missing."""
    folder.mkdir()
    for i in set(range(10)) - {6}:
        (folder / f"{i}.jpg").write_bytes(b"no image" if i in (3, 8) else smallest_image(str(i)))
    return Files(str(folder), Strings(f"{i}.jpg" for i in range(10)))


def assert_equal(found: Checked, expected: Checked) -> None:
    assert found.reasons == expected.reasons
    np.testing.assert_array_equal(found.digests, expected.digests)


def test_processes_check_their_shares_and_know_what_one_would(tmp_path, together, reads):
    files = write_files(tmp_path / "images")
    one = check_files(files, tmp_path / "one")
    assert sorted(one.reasons) == [3, 6, 8]
    reads.clear()
    cache = tmp_path / "shared"
    for found in together([lambda: check_files(files, cache, is_divided=True)] * 4):
        assert_equal(found, one)
    assert sorted(reads) == [files[i] for i in (0, 1, 2, 3, 4, 5, 7, 8, 9)], "each file that is there, once"
    for processes in (4, 1, 3):  # good files are known, whoever checked them
        reads.clear()
        check = [lambda: check_files(files, cache, is_divided=True)] * processes
        for found in together(check) if processes > 1 else [check_files(files, cache)]:
            assert_equal(found, one)
        assert sorted(reads) == [files[3], files[8]]
    (tmp_path / "images" / "3.jpg").write_bytes(smallest_image("mended"))
    for found in together([lambda: check_files(files, cache, is_divided=True)] * 2):
        assert sorted(found.reasons) == [6, 8]
    reads.clear()
    assert sorted(check_files(files, cache).reasons) == [6, 8] and reads == [files[8]]


def test_each_checks_the_copies_on_its_own_disk(tmp_path, together, reads):
    copies = [write_files(tmp_path / name) for name in "ab"]
    (tmp_path / "b" / "5.jpg").write_bytes(b"")
    nothing = Files("", Strings())
    works = [
        lambda files=files, name=name: check_files(files, tmp_path / f"{name}.cache", is_divided=True)
        for name, files in (("a", copies[0]), ("a", copies[0]), ("b", copies[1]), ("c", nothing))
    ]
    found = together(works)
    assert [sorted(checked.reasons) for checked in found] == [[3, 6, 8], [3, 6, 8], [3, 5, 6, 8], []]
    assert len(reads) == len(set(reads)) == 9 + 8
