"""The file that fixes the classes: YAML, and one sentence for every mistake in it."""

import pytest

from fashion_jax.data.sources.taxonomy_file import paths_by_name, read_taxonomy_file
from fashion_jax.errors import UserError
from fashion_jax.taxonomy import Taxonomy, class_labels, class_name

TWO, THREE = ["main", "sub"], ["main", "sub", "type"]


def read(folder, text: str | bytes, levels=TWO, name="classes.yaml"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_taxonomy_file(str(path), levels)


def test_lists_stand_under_their_parents(tmp_path):
    flow = read(tmp_path, "Upper body: [t-shirt, shirt]\nAccessories: [hat]\n")
    assert flow.classes == {
        "main": ("Accessories", "Upper body"),
        "sub": ("Accessories/hat", "Upper body/shirt", "Upper body/t-shirt"),
    }
    assert flow.parents == {"main": (), "sub": (0, 1, 1)}
    assert (
        read(tmp_path, "\ufeffUpper body:\n  - t-shirt\n  - shirt\nAccessories:\n- hat  # a note\n", name="c.YML")
        == flow
    )


def test_deeper_and_flatter(tmp_path):
    deep = read(tmp_path, "Apparel:\n  Tops: [shirt]\n  Other: [x]\nShoes:\n  Other: [x]\n", THREE)
    assert deep.classes["type"] == ("Apparel/Other/x", "Apparel/Tops/shirt", "Shoes/Other/x")
    assert read(tmp_path, "[hat, shirt]", ["sub"]).classes["sub"] == ("hat", "shirt")


def test_what_yaml_takes_for_other_things_are_names(tmp_path):
    taxonomy = read(tmp_path, "no: [1, 1.50, 2024-01-01, yes, 'a/b', ~, 0x1]\n")
    labels = {"1", "1.50", "2024-01-01", "yes", "a/b", "~", "0x1"}
    assert {class_labels(name) for name in taxonomy.classes["sub"]} == {("no", label) for label in labels}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty: write lines as 'Upper body:"),
        ("# nothing", "is empty"),
        ("a: [b", "is not YAML"),
        ("a: [b]\n\tc: [d]", "is not YAML"),
        ("a: [" * 3000, "is not YAML"),
        (b"a: [\xff]", r"cannot be read \(.*\): name a YAML file such as configs/clothing\.yaml, or a run's"),
        (
            "a",
            r"line 1: lines such as 'CLASS: \[\.\.\.\]', a class of 'main' and .* should stand at the top, since data",
        ),
        ("[a, b]", "line 1: lines such as"),
        ("a: [b]\nc: d", r"line 2: a list of the classes of 'sub', such as .* should stand under 'c'"),
        ("a: [b]\nc:", "line 2: a list of"),
        ("a: [b]\nc: []", "line 2: a list of"),
        ("a: [b]\nc: {d: [e]}", "line 2: a list of"),
        ("a: [b, b]", r"line 1: 'b' stands twice under 'a'\."),
        ("a: [b]\nc: [b]\na: [d]", r"line 3: 'a' stands twice\."),
        ("a:\n- b: c", "line 2: a name of a class at the level 'sub' should stand here"),
        ("a: [b, '']", "line 1: a name of a class at the level 'sub'"),
        ("[a]: [b]", "line 1: a name of a class at the level 'main'"),
        ("a: [b]\n---\nc: [d]", "is not YAML"),
    ],
)
def test_every_mistake_is_one_sentence(tmp_path, text, sentence):
    with pytest.raises(UserError, match=sentence) as refused:
        read(tmp_path, text)
    assert "classes.yaml" in str(refused.value) and "\n" not in str(refused.value)


def test_few_lines_that_stand_for_endless_classes_are_refused(tmp_path):
    text = "[x0, x1, x2, x3, x4, x5, x6, x7, x8, x9]"
    for anchor in "abcdefg":
        text = f"{{k0: &{anchor} {text}, {', '.join(f'k{i}: *{anchor}' for i in range(1, 10))}}}"
    with pytest.raises(UserError, match=r"holds more than 100,000 classes"):
        read(tmp_path, text, list("abcdefgh"))


@pytest.mark.parametrize(
    ("text", "words"),
    [("[" * 200_000, "nested more than 100 deep"), ("- " * 2000, "is not YAML"), ("a: [b]\n" * 80_000, "560,000 char")],
)
def test_what_would_take_the_reader_long_is_refused(tmp_path, text, words):
    with pytest.raises(UserError, match=words) as refused:
        read(tmp_path, text)
    assert "classes.yaml" in str(refused.value)


def test_names_are_paths_and_back(tmp_path):
    for path in (("a",), ("a", "b/c"), ("a\\", "b"), ("\\/", "/", "x\ny")):
        assert class_labels(class_name(path)) == path
    taxonomy = read(tmp_path, "A: [x, Other]\nB: [Other]\n")
    assert paths_by_name(taxonomy) == {"x": [("A", "x")], "Other": [("A", "Other"), ("B", "Other")]}


def test_labels_find_the_classes_of_a_taxonomy_with_accents_in_the_other_form(tmp_path):
    """Evaluating a run of an earlier version needs this, since its classes are as the table had them."""
    decomposed = Taxonomy.from_paths(["main", "sub"], [("Damen", "Ro\u0308cke"), ("Damen", "Hosen")])
    assert decomposed.label_ids([("Damen", "R\u00f6cke")])["sub"].tolist() == [1]
    assert paths_by_name(decomposed)["R\u00f6cke"] == [("Damen", "Ro\u0308cke")]
