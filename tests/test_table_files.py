"""Tables as files: every reader finds the rows that were written, and no cell is a formula."""

import csv
import io
import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from fashion_jax.serving import table_files
from fashion_jax.serving.table_files import write_csv, write_table

BREAKS = ["\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"]
FORMULAS = [
    "=1+1",
    "+a",
    "-a",
    "@a",
    " =1+1",
    "\u00a0=1",
    "\ufeff=1",
    "\u200b+1",
    "\uff1d1+1",
    " \uff0b1",
    "\ufe661",
    "\ta",
    "\t=1",
    "\ra",
    "\n=1",
    "a;=1+1",
    "a\t@SUM(1)",
    *(f"a{end}=1+1" for end in BREAKS),
    *(f"a{end} \uff0d1" for end in BREAKS),
]
HARMLESS = ["a=b", "a; -b", "x-1.jpg", 'quo"te,\nline', "a, =b", " a", "\u2212", "", *(f"a{end}b" for end in BREAKS)]


def is_formula(text: str) -> bool:
    """Recognizes formulas as OWASP's CSV Injection does, also for readers that trim cells."""
    text = text.replace("\ufeff", "").replace("\u200b", "")
    return text[:1] in ("\t", "\r", "\n") or text.strip()[:1] in tuple("=+-@\uff1d\uff0b\uff0d\uff20\ufe66")


@pytest.mark.parametrize("name", [*FORMULAS, *HARMLESS])
def test_a_name_is_one_cell_and_no_formula_for_every_reader(tmp_path, name):
    path, columns = tmp_path / "t.csv", [name, "value"]
    write_csv(path, columns, [[name, 1.5], ["next", -2]])
    text = path.read_bytes().decode()
    tables = [
        list(csv.reader(io.StringIO(text, newline=""), strict=True)),
        list(csv.reader(io.StringIO(text, newline=None), strict=True)),
        list(csv.reader(text.splitlines(), strict=True)),
    ]
    for table in tables:
        assert [len(row) for row in table] == [2, 2, 2]
        assert [row[1] for row in table] == ["value", "1.5", "-2"] and table[2][0] == "next"
        assert table[0][0] == table[1][0] and not is_formula(table[1][0])
    assert (tables[0][1][0] == name) == (name in HARMLESS), "only what may be a formula is changed"
    assert tables[0][1][0].replace("'", "") == name
    begun = [line for line in text.splitlines() if line != "next,-2"]
    assert not any(is_formula(line.lstrip('"')) for line in begun), "nor for a reader that ends a row at every break"


def test_numbers_are_in_full_precision_and_what_is_not_there_is_empty(tmp_path):
    write_csv(tmp_path / "t.csv", ["a", "b", "c"], [[-1 / 3, None, math.nan]])
    assert (tmp_path / "t.csv").read_text() == f"a,b,c\n{-1 / 3!r},,\n"


def test_other_formats_keep_names_as_they_are(tmp_path):
    names = [*FORMULAS, *HARMLESS]
    rows = [[name, 0.5] for name in names]
    for end in ("jsonl", "parquet"):
        write_table(tmp_path / f"t.{end}", {"path": str, "sub_probability": float}, rows)
    lines = (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["path"] for line in lines] == names
    assert pq.read_table(tmp_path / "t.parquet")["path"].to_pylist() == names


def test_rows_of_several_groups_are_written_once_and_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "_ROW_GROUP", 64)
    rows = [[f"{i}.jpg", [i / 2] * (i % 5), np.full(i % 3, i, np.float32)] for i in range(50)]
    columns = {"path": str, "sub_top_probabilities": list[float], "embedding": np.ndarray}
    write_table(tmp_path / "t.parquet", columns, rows)
    assert pq.read_metadata(tmp_path / "t.parquet").num_row_groups > 5
    read = [list(row.values()) for row in pq.read_table(tmp_path / "t.parquet").to_pylist()]
    assert read == [[path, top, embedding.tolist()] for path, top, embedding in rows]


def test_the_format_may_be_that_of_the_link_to_the_file(tmp_path):
    for suffix, text in ((".CSV", "path\na\n"), (".jsonl", '{"path": "a"}\n')):
        write_table(tmp_path / "3f9a", {"path": str}, [["a"]], suffix=suffix)
        assert (tmp_path / "3f9a").read_text() == text
