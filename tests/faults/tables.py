"""Tables that other programs and people have made."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.faults.lab import Fault, Lab, Try, is_sentence
from tests.faults.shop import LABELS, Look, Rows, make_shop, shop_fields

Edit = Callable[[Path], object]


def _expected() -> dict[str, tuple[str, ...]]:
    return {str(i): (LABELS[i % 4][0], "/".join(LABELS[i % 4])) for i in range(64)}


def _right_or_refused(name: str, edit: Edit, lab: Lab, named: str = "") -> Iterator[Try]:
    """Checks that every label is right, or its row is left out and counted, or the whole table is refused in words."""
    shop = make_shop(lab.folder / "shop")
    edit(shop)
    look = Look(lab, shop_fields(shop))
    if look.status:
        is_right = look.status == 2 and is_sentence(look.said) and named in look.said
        yield Try(name, is_right, look.said)
        return
    listed = (shop / "styles.csv").read_bytes()
    expected = {key: labels for key, labels in _expected().items() if f"\n{key},".encode() in listed}
    found = {key: look.label(key) for key in expected}
    wrong = [key for key, labels in found.items() if labels and not _are_same(labels, expected[key])]
    missing = [key for key, labels in found.items() if labels is None]
    is_counted = (
        not missing or all(key in look.left_out + look.warnings for key in missing[:5]) or "line" in look.left_out
    )
    yield Try(name, not wrong and is_counted, f"{len(wrong)} wrong, {len(missing)} left out {look.left_out[:150]}")


def _are_same(labels: Sequence[str], expected: Sequence[str]) -> bool:
    """Returns whether labels are unknown or as expected, apart from signs that a table added between letters."""
    pairs = zip(labels, expected, strict=True)
    return all(a == "None" or "".join(filter(str.isalpha, a)) == b.replace("/", "") for a, b in pairs)


def _lines(change: Callable[[list[bytes]], object]) -> Edit:
    def edit(shop: Path) -> None:
        lines = (shop / "styles.csv").read_bytes().splitlines(keepends=True)
        changed = change(lines)
        (shop / "styles.csv").write_bytes(b"".join(lines if changed is None else changed))

    return edit


def _line(number: int, text: bytes) -> Edit:
    def change(lines: list[bytes]) -> None:
        lines[number] = text

    return _lines(change)


def _whole(change: Callable[[bytes], bytes]) -> Edit:
    return lambda shop: (shop / "styles.csv").write_bytes(change((shop / "styles.csv").read_bytes()))


_EDITS: dict[str, Edit] = {
    "a comma in a label": _line(6, b"5,Shirt, slim fit,Apparel,Dress\r\n"),
    "one cell too many": _line(6, b"5,Apparel,Dress,more\r\n"),
    "empty cells too many": _lines(lambda lines: [line.rstrip(b"\r\n") + b",,\r\n" for line in lines]),
    "one cell too few": _line(6, b"5,Apparel\r\n"),
    "a quote that stays open": _line(6, b'5,"Apparel,Dress\r\n'),
    "a quote within a label": _line(6, b'5,App"arel,Dress\r\n'),
    "a line break in a cell": _line(6, b'5,"Apparel","Dr\ness"\r\n'),
    "a carriage return in a cell": _line(6, b'5,"Apparel","Dr\ress"\r\n'),
    "a NUL": _line(6, b"5,Apparel,Dr\0ess\r\n"),
    "bytes that are no text": _line(6, b"5,Apparel,Dr\xff\xfeess\r\n"),
    "UTF-16": _whole(lambda text: text.decode().encode("utf-16")),
    "a byte order mark": _whole(lambda text: b"\xef\xbb\xbf" + text),
    "semicolons": _whole(lambda text: text.replace(b",", b";")),
    "no header": _lines(lambda lines: lines[1:]),
    "the header twice": _lines(lambda lines: [lines[0], *lines]),
    "an id twice, with two labels": _line(6, b"4,Footwear,Shoes\r\n"),
    "cut off": _whole(lambda text: text[: len(text) * 2 // 3 - 3]),
    "a cell of a megabyte": _line(6, b"5,Apparel," + b"x" * (1 << 20) + b"\r\n"),
    "empty": _whole(lambda text: b""),
}
TABLES: list[Fault] = [functools.partial(_right_or_refused, name, edit) for name, edit in _EDITS.items()]


def _normal_forms(lab: Lab, part: str) -> Iterator[Try]:
    """Composes accents in the table and decomposes them on disk, as macOS does, or in half of the rows."""
    names = {"labels": "Café", "ids": "é"}

    def change(rows: Rows) -> None:
        for i, row in enumerate(rows):
            form = "NFD" if i % 2 else "NFC"
            if part == "labels" and row[2] == "Dress":
                row[2] = unicodedata.normalize("NFD" if i % 8 == 1 else "NFC", names["labels"])
            elif part in ("ids", "files"):
                row[0] = unicodedata.normalize(form if part == "ids" else "NFC", f"é{row[0]}")

    shop = make_shop(lab.folder / "shop", change=change)
    if part in ("ids", "files"):
        for path in list((shop / "images").iterdir()):
            path.rename(path.with_name(unicodedata.normalize("NFD", f"é{path.name}")))
    look = Look(lab, shop_fields(shop))
    expected = _expected()
    if part == "labels":
        expected = {k: (a, b.replace("Dress", names["labels"])) for k, (a, b) in expected.items()}
    else:
        expected = {f"é{k}": v for k, v in expected.items()}
    wrong = [key for key, value in expected.items() if look.label(key) != value]
    classes = {unicodedata.normalize("NFC", str(v[1])) for v in look.labels.values()}
    same = len({v[1] for v in look.labels.values()}) == len(classes)
    yield Try(
        f"two forms of accents: {part}", look.status == 0 and not wrong and same, f"{look.said} wrong: {wrong[:3]}"
    )


def _look_alikes(name: str, other: str, lab: Lab) -> Iterator[Try]:
    """Checks that a label that only looks like another is merged with it, or named at the start."""

    def change(rows: Rows) -> None:
        for row in rows[1::8]:
            row[2] = other

    shop = make_shop(lab.folder / "shop", change=change)
    workdir = lab.folder / "run"
    command = lab.train(workdir, shop_fields(shop, num_epochs=1))
    status, said = command.wait(), command.stdout() + command.stderr()
    look = Look(lab, shop_fields(shop))
    is_one = {v[1] for v in look.labels.values()} == {"/".join(labels) for labels in LABELS}
    is_named = "Dress" in said
    message = next((line for line in said.splitlines() if "Dress" in line), "one class")
    yield Try(name, status == 0 and (is_one or is_named), f"{status}: {message}")


def _fine_to_coarse(lab: Lab) -> Iterator[Try]:
    shop = make_shop(lab.folder / "shop")
    fields = shop_fields(shop) | {"data.levels.main": "subCategory", "data.levels.sub": "masterCategory"}
    command = lab.train(lab.folder / "run", fields | {"num_epochs": 1})
    status, said = command.wait(), command.stdout() + command.stderr()
    warned = [line for line in said.splitlines() if "data.levels" in line or "coarse" in line]
    yield Try("levels from fine to coarse", bool(warned) and status in (0, 2), f"{status}: {' '.join(warned)[:300]}")


LABELS_LIKE_OTHERS: list[Fault] = [
    *(functools.partial(_normal_forms, part=part) for part in ("labels", "ids", "files")),
    *(
        functools.partial(_look_alikes, name, other)
        for name, other in (
            ("another case", "dress"),
            ("two blanks", "Dress "),
            ("a zero-width blank", "Dress\u200b"),
            ("a hard blank", "Dress\u00a0"),
            ("full-width letters", "Ｄress"),
        )
    ),
    _fine_to_coarse,
]
