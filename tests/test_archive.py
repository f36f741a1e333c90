"""Zips as data: extracted once and whole, and refused in one sentence where they are damaged or unsafe."""

import os
import shutil
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from fashion_jax.data.dataset import check_paths, load_dataset
from fashion_jax.data.fields import data_fields
from fashion_jax.data.sources import archive as module
from fashion_jax.data.sources.archive import check_archive, extracted, extracted_whole
from fashion_jax.errors import UserError
from tests.shop import products, shop_config, write_shop

FILES = {"styles.csv": b"id\n1\n", "images/1.jpg": b"one", "images/2.jpg": b"two" * 1000}


def write_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.filename, info.compress_type = name, method  # ZipInfo itself changes odd names
            file.writestr(info, content)
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def patched(path: Path, old: bytes, new: bytes, count: int = -1) -> Path:
    content = path.read_bytes()
    assert old in content and len(old) == len(new)
    path.write_bytes(content.replace(old, new, count))
    return path


@pytest.fixture
def refused(tmp_path):
    """Asserts that an archive is refused in one sentence, and that nothing is left of it; returns the sentence."""

    def check(path: Path) -> str:
        cache = tmp_path / "cache"
        with pytest.raises(UserError) as error:
            extracted(path, cache)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
        assert not cache.exists() or list(cache.iterdir()) == []
        return str(error.value)

    return check


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_files_are_extracted(tmp_path, method):
    folder = extracted(write_zip(tmp_path / "a.zip", FILES, method), tmp_path / "cache")
    assert folder.parent == tmp_path / "cache" and files_of(folder) == FILES
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [folder.name]


def test_one_top_folder_is_entered(tmp_path):
    path = write_zip(tmp_path / "a.zip", {f"top/{name}": content for name, content in FILES.items()})
    folder = extracted(path, tmp_path / "cache")
    assert folder.name == "top" and files_of(folder) == FILES
    assert extracted_whole(path, tmp_path / "cache") == folder.parent


def test_one_file_is_no_top_folder(tmp_path):
    folder = extracted(write_zip(tmp_path / "a.zip", {"1.jpg": b"one"}), tmp_path)
    assert files_of(folder) == {"1.jpg": b"one"}


def test_what_macos_adds_is_left_out(tmp_path):
    junk = {"__MACOSX/top/._1.jpg": b"x", "top/.DS_Store": b"x", ".DS_Store": b"x", "__MACOSX/": b""}
    folder = extracted(write_zip(tmp_path / "a.zip", {"top/1.jpg": b"one", "top/": b"", **junk}), tmp_path)
    assert folder.name == "top" and files_of(folder.parent) == {"top/1.jpg": b"one"}


def test_names_in_utf8_without_its_flag_and_in_the_old_code_page(tmp_path):
    path = patched(write_zip(tmp_path / "a.zip", {"xx.jpg": b"1"}), b"xx.jpg", "ß.jpg".encode())
    assert files_of(extracted(path, tmp_path)) == {"ß.jpg": b"1"}
    path = patched(write_zip(tmp_path / "b.zip", {"xx.jpg": b"1"}), b"xx.jpg", b"x\xe1.jpg")
    assert files_of(extracted(path, tmp_path)) == {"xß.jpg": b"1"}


def test_it_is_extracted_once_and_anew_where_it_or_the_cache_has_changed(tmp_path, monkeypatch):
    path, cache = write_zip(tmp_path / "a.zip", FILES), tmp_path / "cache"
    folder = extracted(path, cache)
    extract = module._extract
    monkeypatch.setattr(module, "_extract", None)
    assert extracted(path, cache) == folder
    monkeypatch.setattr(module, "_extract", extract)
    (folder / "images" / "2.jpg").write_bytes(b"cut off")
    assert extracted(path, cache) == folder and files_of(folder) == FILES
    os.utime(path, ns=(0, 0))
    moved = extracted(path, cache)
    assert moved != folder
    write_zip(path, FILES | {"styles.csv": b"id\n2\n"})
    os.utime(path, ns=(0, 0))  # same size and time, but another directory in the zip
    assert files_of(extracted(path, cache))["styles.csv"] == b"id\n2\n" and len(list(cache.iterdir())) == 3


def test_half_an_extraction_is_not_used(tmp_path, monkeypatch):
    path, cache = write_zip(tmp_path / "a.zip", FILES), tmp_path / "cache"
    extract_member = module._extract_member

    def interrupted(file, info, target):
        if info.filename == "images/2.jpg":
            raise KeyboardInterrupt
        extract_member(file, info, target)

    monkeypatch.setattr(module, "_extract_member", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extracted(path, cache)
    assert list(cache.iterdir()) == []
    monkeypatch.undo()
    assert files_of(extracted(path, cache)) == FILES


def test_two_processes_at_once_end_with_one_folder(tmp_path, monkeypatch):
    path, cache = write_zip(tmp_path / "a.zip", FILES), tmp_path / "cache"
    extract = module._extract

    def overtaken(file, members, folder):
        monkeypatch.setattr(module, "_extract", extract)
        extracted(path, cache)
        extract(file, members, folder)

    monkeypatch.setattr(module, "_extract", overtaken)
    folder = extracted(path, cache)
    assert list(cache.iterdir()) == [folder] and files_of(folder) == FILES


@pytest.mark.parametrize("content", [b"", b"no zip", "half", "tail", "directory"])
def test_no_zip_and_damaged_ones(tmp_path, refused, content):
    path = write_zip(tmp_path / "a.zip", FILES)
    whole = path.read_bytes()
    parts = {"half": whole[: len(whole) // 2], "tail": whole[len(whole) // 2 :]}
    parts["directory"] = whole.replace(b"PK\1\2", b"PK\1\3")
    path.write_bytes(parts.get(content, content))
    assert "cannot be read" in refused(path)


def test_an_archive_that_is_not_there_or_a_folder(tmp_path, refused):
    assert "No such file" in refused(tmp_path / "no.zip")
    assert "directory" in refused(tmp_path)


def test_damaged_content_is_found_while_extracting(tmp_path, refused):
    path = patched(write_zip(tmp_path / "a.zip", FILES, zipfile.ZIP_STORED), b"twotwo", b"twoTwo", 1)
    check_archive(path)
    assert "Bad CRC-32 for file 'images/2.jpg'" in refused(path)
    path = write_zip(tmp_path / "b.zip", {"1.jpg": bytes(range(256)) * 100})
    content = bytearray(path.read_bytes())
    content[35:80] = bytes(45)
    path.write_bytes(content)
    assert "cannot be read" in refused(path)


@pytest.mark.parametrize(("told", "words"), [(10, "Bad CRC-32"), (3999, "has 3000 bytes, not 3999")])
def test_sizes_that_the_directory_lies_about(tmp_path, refused, told, words):
    """No more is written than the directory says, and what is written is compared with it."""
    path = write_zip(tmp_path / "a.zip", FILES)
    assert words in refused(patched(path, struct.pack("<L", 3000), struct.pack("<L", told)))


@pytest.mark.parametrize(
    "name",
    ["/etc/x.jpg", "../x.jpg", "a/../../x.jpg", "..", "C:/x.jpg", "c:x.jpg", "a\\b.jpg", "..\\x.jpg", "__MACOSX/../x"],
)
def test_paths_that_lead_out(tmp_path, refused, name):
    path = write_zip(tmp_path / "a.zip", {"1.jpg": b"one", name: b"x"})
    assert f"holds the path {name!r}" in refused(path)
    with pytest.raises(UserError, match="holds the path"):
        check_archive(path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices(tmp_path, refused, kind):
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    assert "'link', which is a link or a device" in refused(tmp_path / "a.zip")


def test_encrypted_files(tmp_path, refused):
    path = write_zip(tmp_path / "a.zip", {"1.jpg": b"one"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert "is encrypted" in refused(path)


def test_methods_that_need_unbounded_memory(tmp_path, refused):
    assert "'1.jpg' by the method 12" in refused(write_zip(tmp_path / "a.zip", {"1.jpg": b"one"}, zipfile.ZIP_BZIP2))


def test_a_bomb_is_refused_by_its_ratio(tmp_path, refused):
    """The archive of 30 KB would become 32 MB."""
    path = write_zip(tmp_path / "a.zip", {f"{i}.bmp": bytes(16 << 20) for i in range(2)})
    assert path.stat().st_size < 40_000 and "would take 0.0336 GB" in refused(path)


def test_sizes_and_counts_are_bounded(tmp_path, refused, monkeypatch):
    path = write_zip(tmp_path / "a.zip", FILES)
    monkeypatch.setattr(module, "_MAX_BYTES", 3000)
    assert "would take" in refused(path)
    monkeypatch.setattr(module, "_MAX_FILES", 2)
    assert "holds 3 files, more than 2" in refused(path)


def test_too_little_room_is_told_before_anything_is_written(tmp_path, refused, monkeypatch):
    path = write_zip(tmp_path / "a.zip", FILES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    assert "has only 0 GB left: make room, or set data.cache_dir" in refused(path)


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"/file/archive-.* cannot be written .*data\.cache_dir"):
        extracted(write_zip(tmp_path / "a.zip", FILES), tmp_path / "file")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicates(tmp_path, refused):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("1.jpg", b"one")
        file.writestr("1.jpg", b"two")
    assert "holds the file '1.jpg' twice" in refused(tmp_path / "a.zip")
    assert "holds the file '1.jpg' twice" in refused(write_zip(tmp_path / "b.zip", {"1.jpg": b"1", "./1.jpg": b"2"}))
    assert "'a' twice, as a file and as a folder" in refused(write_zip(tmp_path / "c.zip", {"a": b"1", "a/b/c": b"2"}))


@pytest.mark.parametrize("files", [{}, {"images/": b"", "__MACOSX/x": b"x"}])
def test_an_archive_without_files(tmp_path, refused, files):
    assert "holds no files" in refused(write_zip(tmp_path / "a.zip", files))


@pytest.mark.parametrize("top", ["", "shop/"])
def test_a_zip_loads_the_same_data_as_the_folder(tmp_path, top):
    """The zip has files of splits inside, which the quick checks leave to loading."""
    shop = tmp_path / "shop"
    write_shop(shop, products(40))
    (shop / "train.txt").write_text("\n".join(map(str, range(32))))
    (shop / "validation.txt").write_text("\n".join(map(str, range(32, 41))))
    path = write_zip(tmp_path / "shop.zip", {top + name: content for name, content in files_of(shop).items()})
    splits = {"train": "train.txt", "validation": "validation.txt"}
    expected = load_dataset(shop_config(shop, splits=splits))
    config = shop_config(path, splits=splits, cache_dir=str(tmp_path / "cache"))
    check_paths(data_fields(config))
    assert not (tmp_path / "cache").exists()
    found = load_dataset(config)
    assert (found.taxonomy, found.left_out) == (expected.taxonomy, expected.left_out)
    for name, split in expected.splits.items():
        assert list(found.splits[name].ids) == list(split.ids)
        assert [Path(file).name for file in found.splits[name].files] == [Path(file).name for file in split.files]
        assert all(os.path.isfile(file) for file in found.splits[name].files)
        assert {k: v.tolist() for k, v in found.splits[name].labels.items()} == {
            k: v.tolist() for k, v in split.labels.items()
        }


def test_a_file_of_a_split_that_a_zip_lacks_is_told_before_the_images_are_read(tmp_path, monkeypatch):
    write_shop(tmp_path / "shop", products(4))
    path = write_zip(tmp_path / "shop.zip", files_of(tmp_path / "shop"))
    monkeypatch.setattr("fashion_jax.data.dataset.check_files", None)
    splits = {"train": "train.txt", "validation": "validation.txt"}
    with pytest.raises(UserError, match=r"data\.splits\.train is '.*/train\.txt', but there is no such file"):
        load_dataset(shop_config(path, splits=splits, cache_dir=str(tmp_path / "cache")))


def test_a_data_path_that_is_no_zip_is_told_by_the_quick_checks(tmp_path):
    (tmp_path / "data.zip").write_text("no zip")
    for check in (lambda config: check_paths(data_fields(config)), load_dataset):
        with pytest.raises(UserError, match=r"The archive '.*/data\.zip' cannot be read"):
            check(shop_config(tmp_path / "data.zip"))


@pytest.mark.parametrize("depth", [101, 4000, 30000])
def test_folders_inside_each_other_are_bounded(tmp_path, refused, depth):
    path = write_zip(tmp_path / "a.zip", {"a/" * depth + "1.jpg": b"x"})
    assert f"{depth:,} folders inside each other, more than 100" in refused(path)


def test_more_folders_than_files_are_bounded(tmp_path, refused, monkeypatch):
    monkeypatch.setattr(module, "_MAX_MORE_FOLDERS", 100)
    path = write_zip(tmp_path / "a.zip", {f"{i}/" + "a/" * 60 + "1.jpg": b"x" for i in range(5)})
    assert "305 folders for only 5 files" in refused(path)
    few = write_zip(tmp_path / "b.zip", {f"{i}/a/b/1.jpg": b"x" for i in range(5)})
    assert len(files_of(extracted_whole(few, tmp_path / "cache"))) == 5
