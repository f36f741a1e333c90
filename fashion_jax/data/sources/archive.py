"""Checks a zip of data and extracts it once into the cache.

Whatever the archive contains, nothing is written outside its folder in the cache, only regular files and folders are
made, and no more bytes are written than its directory announces (zipfile truncates a member at the announced size;
the announced sizes are bounded).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from fashion_jax.data.cache import make_once
from fashion_jax.errors import UserError

_MAX_FILES = 5_000_000

_MAX_DEPTH = 100  # nested folders
_MAX_MORE_FOLDERS = 10_000  # folders beyond the number of files; creating each takes time
_MAX_BYTES = 1 << 40

_MAX_RATIO = 200  # extracted bytes per archive byte, beyond _BYTES_OF_ANY_RATIO; photographs have 1, tables 20

_BYTES_OF_ANY_RATIO = 16 << 20

_BLOCK = 4096  # bytes that a small file takes on disk

_CHUNK = 1 << 20

_ENCRYPTED = 0x1  # flag bit

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile needs unbounded memory for the others

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, struct.error, OverflowError)

_Members = dict[str, zipfile.ZipInfo]  # path inside the archive -> the file that lies there


def check_archive(archive: Path) -> None:
    """Checks an archive without extracting it; takes a second for 100,000 files.

    Raises:
        UserError: the file is no zip, or `extracted` would refuse it because of its directory.
    """
    with _opened(archive):
        pass


def extracted(archive: Path, cache: Path) -> Path:
    """Returns the folder of an archive's data, and extracts it first if it is not in the cache.

    If the archive has a single top folder that holds everything, that folder is returned.

    Args:
        archive: a zip.
        cache: root of the cache.

    Raises:
        UserError: the archive is no zip, damaged or unsafe, or the cache has no room for it.
    """
    root = extracted_whole(archive, cache)
    entries = list(root.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else root


def extracted_whole(archive: Path, cache: Path) -> Path:
    """Extracts like `extracted`, but always returns the folder that the paths in the archive are relative to."""
    with _opened(archive) as (file, members):
        folder = cache / f"archive-{_digest(archive, members)}"
        way_out = f"set data.cache_dir to a folder with room that can be written, or unpack {str(archive)!r} yourself"
        try:
            make_once(
                folder, lambda made: _extract(file, members, made), lambda made: _is_complete(made, members), way_out
            )
        except _DAMAGE as error:
            raise _unreadable(archive, error) from error
    return folder


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[tuple[zipfile.ZipFile, _Members]]:
    """Yields the open archive and its files, after all checks."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(_zip_file(archive))
        except (OSError, *_DAMAGE) as error:
            raise _unreadable(archive, error) from error
        yield file, _members(archive, file)


def _zip_file(archive: Path) -> zipfile.ZipFile:
    """Opens a zip; names without the UTF-8 flag are read as UTF-8 if valid (macOS writes such), else as code page
    437.
    """
    try:
        return zipfile.ZipFile(archive, metadata_encoding="utf-8")
    except UnicodeDecodeError:
        return zipfile.ZipFile(archive)


def _members(archive: Path, file: zipfile.ZipFile) -> _Members:
    """Returns the files of the archive, without those that macOS adds."""
    if len(file.infolist()) > _MAX_FILES:
        raise _refused(archive, f"holds {len(file.infolist()):,} files, more than {_MAX_FILES:,}")
    members: _Members = {}
    for info in file.infolist():
        _check_member(archive, info)
        parts = [part for part in info.orig_filename.split("/") if part not in ("", ".")]
        if info.is_dir() or "__MACOSX" in parts or parts[-1:] == [".DS_Store"]:
            continue
        name = "/".join(parts)
        if not name or name in members:
            raise _refused(archive, f"holds the file {name!r} twice" if name else "holds a file without a name")
        members[name] = info
    _check_tree(archive, members)
    _check_size(archive, sum(info.file_size for info in members.values()))
    return members


def _check_member(archive: Path, info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    if re.match(r"/|[A-Za-z]:", name) or "\\" in name or "\0" in name or ".." in name.split("/"):
        raise _refused(
            archive, f"holds the path {name!r}, which leads out of its folder or is valid on one system only"
        )
    if (depth := name.count("/")) > _MAX_DEPTH:
        raise _refused(archive, f"holds a path of {depth:,} folders inside each other, more than {_MAX_DEPTH}")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(archive, f"holds {name!r}, which is a link or a device")
    if info.flag_bits & _ENCRYPTED:
        raise _refused(archive, f"is encrypted (its file {name!r} is)")
    if info.compress_type not in _METHODS:
        raise _refused(archive, f"compresses {name!r} by the method {info.compress_type}, not by deflate")


def _check_tree(archive: Path, members: _Members) -> None:
    if not members:
        raise _refused(archive, "holds no files")
    folders = {""}
    for name in members:
        while (name := os.path.dirname(name)) not in folders:
            folders.add(name)
    if len(folders) - 1 > len(members) + _MAX_MORE_FOLDERS:
        raise _refused(archive, f"holds {len(folders) - 1:,} folders for only {len(members):,} files")
    if both := sorted(folders & members.keys()):
        raise _refused(archive, f"holds {both[0]!r} twice, as a file and as a folder")


def _check_size(archive: Path, size: int) -> None:
    allowed = min(_MAX_BYTES, os.path.getsize(archive) * _MAX_RATIO + _BYTES_OF_ANY_RATIO)
    if size > allowed:
        raise _refused(archive, f"would take {_gigabytes(size)}, more than {_gigabytes(allowed)} for one of its size")


def _digest(archive: Path, members: _Members) -> str:
    """Returns a digest of the archive's path, size, modification time and directory."""
    status = archive.stat()
    digest = hashlib.sha256(repr((os.path.abspath(archive), status.st_size, status.st_mtime_ns)).encode())
    for name, info in members.items():
        digest.update(repr((name, info.header_offset, info.CRC, info.compress_size, info.file_size)).encode())
    return digest.hexdigest()[:32]


def _is_complete(folder: Path, members: _Members) -> bool:
    """Whether every file is there in its full size; something may have cleaned the cache."""
    try:
        return all(os.path.getsize(os.path.join(folder, name)) == info.file_size for name, info in members.items())
    except OSError:
        return False


def _extract(file: zipfile.ZipFile, members: _Members, folder: Path) -> None:
    needed = sum(info.file_size + _BLOCK for info in members.values())
    if needed > (free := shutil.disk_usage(folder.parent).free):
        raise UserError(
            f"The archive {file.filename!r} takes {_gigabytes(needed)}, but {str(folder.parent)!r} has only "
            f"{_gigabytes(free)} left: make room, or set data.cache_dir to another folder."
        )
    for name in {os.path.dirname(name) for name in members}:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, info in members.items():
        _extract_member(file, info, folder / name)


def _extract_member(file: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    with file.open(info) as source, target.open("xb") as copy:
        shutil.copyfileobj(source, copy, _CHUNK)
        if copy.tell() != info.file_size:
            raise zipfile.BadZipFile(f"{info.orig_filename!r} has {copy.tell()} bytes, not {info.file_size}")


def _unreadable(archive: Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or error
    return UserError(
        f"The archive {str(archive)!r} cannot be read ({reason}): name a zip that is whole, or the folder of the data."
    )


def _refused(archive: Path, what: str) -> UserError:
    return UserError(f"The archive {str(archive)!r} {what}: make it anew, or unpack it yourself and name the folder.")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
