"""JSON from files that anybody may have written: what would exhaust the stack is an error like any other."""

import json
import re
from pathlib import Path

import pytest

from fashion_jax.config.loading import read_config
from fashion_jax.errors import UserError
from fashion_jax.json_text import parse_json
from fashion_jax.taxonomy import Taxonomy

PACKAGE = Path(__file__).parent.parent / "fashion_jax"
DEEP = {"brackets": "[" * 200_000, "objects": '{"a":' * 200_000, "closed": "[" * 500 + "]" * 500}


@pytest.mark.parametrize("as_bytes", [False, True])
def test_the_value_is_that_of_json(as_bytes):
    value = {"a": [1, 2.5, None, {"ü": '[[[{{\\"'}] * 60, "b": "[" * 300}
    text = json.dumps(value, ensure_ascii=False)
    assert parse_json(text.encode() if as_bytes else text) == value
    wide = [[i] for i in range(1000)]
    assert parse_json(json.dumps(wide)) == wide


@pytest.mark.parametrize("name", DEEP)
def test_what_is_nested_deep_is_an_error_of_the_value(name):
    for text in (DEEP[name], DEEP[name].encode(), '"' + DEEP[name].replace('"', ""), '["]", ' + DEEP[name]):
        with pytest.raises(ValueError, match=r"nested more than 100 deep|Unterminated"):
            parse_json(text)


@pytest.mark.parametrize("name", DEEP)
def test_files_of_a_run_are_told_in_a_sentence(name):
    for read in (lambda text: read_config(text, "config.json"), lambda text: Taxonomy.from_json(text, "config.json")):
        with pytest.raises(UserError, match=r"^config\.json is not .*nested more than 100 deep") as refused:
            read(DEEP[name])
        assert len(str(refused.value)) < 300


def test_no_file_is_parsed_in_another_way():
    """Elsewhere json.loads only reads what json.dumps has made in the same line."""
    for path in PACKAGE.rglob("*.py"):
        calls = re.findall(r"json\.loads?\((?!json\.dumps\(|_to_json\()", path.read_text(encoding="utf-8"))
        # card_lines.py has the text of a program that users copy, which imports nothing of this package.
        assert not calls or path.name in ("json_text.py", "card_lines.py"), path
