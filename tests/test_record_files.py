"""Files of records: more of them than a process may open, and disks that are away."""

import contextlib
import errno
import os
import resource
import struct
import threading

import numpy as np
import pytest

from fashion_jax.data import outages
from fashion_jax.data.records import record_files
from fashion_jax.data.records.record_files import ArrayRecords, TfRecords
from fashion_jax.data.records.record_images import ImageFormat, RecordImages, RecordNames
from fashion_jax.data.tensorflow_cpu import import_tensorflow
from fashion_jax.errors import Outage, RunError, UserError

SHAPE = (1, 2, 3)


def pixels_of(row: int) -> np.ndarray:
    return np.arange(row, row + 6, dtype=np.uint8).reshape(SHAPE)


def write(folder, kind: type, count: int) -> list[tuple[str, int]]:
    """Writes files of one record each, the pixels of its number, and returns the shards."""
    from array_record.python.array_record_module import ArrayRecordWriter

    shards = []
    for row in range(count):
        path, record = str(folder / f"set-{row:03d}"), pixels_of(row).tobytes()
        if kind is ArrayRecords:
            writer = ArrayRecordWriter(path, "group_size:1,zstd:3")
            writer.write(record)
            writer.close()
        else:
            (folder / f"set-{row:03d}").write_bytes(struct.pack("<QI", len(record), 0) + record + bytes(4))
        shards.append((path, 1))
    return shards


def images_of(records) -> RecordImages:
    return RecordImages(RecordNames(records, np.arange(len(records)), ImageFormat(shape=SHAPE), "set"), (1, 2), "crop")


def batches(records, size: int = 10) -> np.ndarray:
    rows = np.arange(len(records)).reshape(-1, size)
    return np.concatenate(list(images_of(records).batches(lambda: iter(rows))))


def refused(*_):
    raise ValueError("not allowed to raise maximum limit")


@contextlib.contextmanager
def few_files():
    """Lowers the limit of open files so that 20 more can be opened."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are counted as Linux lists them")
@pytest.mark.parametrize("kind", [ArrayRecords, TfRecords])
def test_more_files_are_read_than_the_soft_limit_lets_open(tmp_path, kind):
    records = kind(write(tmp_path, kind, 100))
    with few_files():
        assert records.read(range(100)) == [pixels_of(row).tobytes() for row in range(100)]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are counted as Linux lists them")
@pytest.mark.parametrize("kind", [ArrayRecords, TfRecords])
def test_a_limit_of_open_files_that_cannot_be_raised_is_named(tmp_path, monkeypatch, kind):
    records = kind(write(tmp_path, kind, 100))
    import_tensorflow()
    with few_files(), monkeypatch.context() as patched:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        patched.setattr(resource, "setrlimit", refused)
        with pytest.raises(UserError, match=rf"has 100 files, but .* only {limit} files open \(ulimit -n\): raise the"):
            batches(records, 100)


def test_an_error_of_the_system_is_told_from_damage():
    said = (
        "pread() failed: Input/output error; reading /a b/set; at byte 139; Could not read from the reader; at byte 0"
    )
    error = record_files._failed_call(RuntimeError(said))
    assert (error.errno, error.filename) == (errno.EIO, "/a b/set")
    assert record_files._failed_call(RuntimeError("ArrayRecord file should be at least 64KB big")) is None


def test_a_file_that_is_back_is_read(tmp_path):
    shards = write(tmp_path, ArrayRecords, 2)
    records = ArrayRecords(shards)
    os.rename(shards[1][0], tmp_path / "away")
    with pytest.raises(FileNotFoundError, match="set-001"):
        records.read([0, 1])
    os.rename(tmp_path / "away", shards[1][0])
    assert records.read([1]) == [pixels_of(1).tobytes()]


class Faulty:
    """Records in memory, of which some reads fail.

    Attributes:
        damaged: the record that never can be read.
        fails: how many of the next reads fail as on a network disk that is away.
        rows: how many records were asked for.
    """

    def __init__(self, count: int, damaged: int = -1, fails: int = 0):
        self.shards, self.damaged, self.fails, self.rows = [("set", count)], damaged, fails, 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.shards[0][1]

    def read(self, rows) -> list[bytes]:
        with self._lock:
            self.rows += len(rows)
            self.fails -= 1
            if self.fails >= 0:
                raise OSError(errno.ESTALE, "Stale file handle")
        if self.damaged in rows:
            raise RuntimeError("Chunk is damaged")
        return [pixels_of(row % 100).tobytes() for row in rows]


def test_after_damage_only_the_batch_that_failed_is_looked_at():
    records = Faulty(10_000, damaged=9_005)
    batch = np.arange(9_000, 9_010)
    with pytest.raises(UserError, match=r"The image set, record 9005 cannot be read .*Chunk is damaged.*: restore the"):
        list(images_of(records).batches(lambda: iter([batch - 20, batch - 10, batch, batch + 10])))
    assert records.rows <= 50


def test_records_that_cannot_be_read_for_a_moment_are_read_again(monkeypatch):
    monkeypatch.setattr(outages, "_WAITS", (0.0, 0.0))
    expected = np.stack([pixels_of(row) for row in range(20)])
    np.testing.assert_array_equal(batches(Faulty(20, fails=2)), expected)
    with pytest.raises(
        Outage, match=r"The data of set cannot be read, nor .* 0 s later \(.*Stale file handle\)"
    ) as told:
        batches(Faulty(20, fails=1000))
    assert told.value.status == 75


def test_images_that_can_be_decoded_after_all_ask_for_another_start(monkeypatch):
    records, failed = Faulty(20), []
    read = records.read

    def once(rows):
        if not failed:
            failed.append(True)
            raise RuntimeError("a passing damage")
        return read(rows)

    monkeypatch.setattr(records, "read", once)
    with pytest.raises(RunError, match=r"batch of set could not be read .* now all can be: run the same command"):
        batches(records)
