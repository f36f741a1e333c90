"""What is suggested where a table's images are not found."""

import pytest

from fashion_jax.data.dataset import load_dataset
from fashion_jax.data.fields import data_fields
from fashion_jax.data.sources.image_advice import image_advice
from fashion_jax.errors import UserError
from tests.shop import shop_config, write_table

HEADER = ("value", "masterCategory", "subCategory")


def advice(folder, values, files, image="{value}"):
    """Returns the advice for a table of values in a folder of files."""
    write_table(folder / "styles.csv", [(value, "Apparel", "Tops") for value in values], HEADER)
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return image_advice(data_fields(shop_config(folder, image=image)), folder)


@pytest.mark.parametrize(
    ("image", "values", "files", "suggestion"),
    [
        ("images/{value}.jpg", ("1", "2"), ("1.jpg", "2.jpg"), "{value}.jpg"),
        ("images/{value}.jpg", ("1", "2"), ("a/b/1.png", "a/b/2.png"), "a/b/{value}.png"),
        ("{value}.jpg", ("1", "2"), ("1.JPG", "2.JPG"), "{value}.JPG"),
        ("{value}.jpg", ("1", "2"), ("1.JPG", "2.jpeg"), "{value}.*"),
        ("{value}", ("1.jpg", "2.jpg"), ("1.JPG", "2.jpg"), "{value[:-4]}.*"),
        ("{value}", ("1", "2"), ("1.jpg", "2.jpg"), "{value}.jpg"),
        ("{value}.jpg", ("1.0", "2.0"), ("1.jpg", "2.jpg"), "{value[:-2]}.jpg"),
        ("i/{value}.jpg", ("0108", "0211"), ("i/010/0108.jpg", "i/021/0211.jpg"), "i/{value[:3]}/{value}.jpg"),
        ("i/{value}.jpg", ("108", "211"), ("i/010/0108.jpg", "i/021/0211.jpg"), "i/0{value[:2]}/0{value}.jpg"),
        ("{value}.jpg", ("1", "2"), ("Apparel/1.jpg", "Apparel/2.jpg"), "{masterCategory}/{value}.jpg"),
        ("{value}.jpg", ("123", "456"), ("IMG_123.jpg", "IMG_456.jpg"), "IMG_{value}.jpg"),
        ("{value}.jpg", ("123", "456"), ("123_a.jpg", "456_a.jpg"), "{value}_a.jpg"),
        ("{value}", ("C:\\p\\a\\1.jpg", "C:\\p\\b\\2.jpg"), ("a/1.jpg", "b/2.jpg"), "{value[5:]}"),
        ("{value}", ("https://x.y/1.jpg?v=1", "https://x.y/2.jpg?v=2"), ("i/1.jpg", "i/2.jpg"), "i/{value[12:-4]}"),
        ("i/{value}.jpg", ("3f-01", "3f-02"), ("i/{3f-01}.jpg", "i/{3f-02}.jpg"), "i/{{{value}}}.jpg"),
        ("{value}.jpg", ("123", "456"), ("}a/123.jpg", "}a/456.jpg"), "}}a/{value}.jpg"),
        ("{value}", ("/data/i/1.jpg", "/data/i/2.jpg"), ("i/1.jpg", "i/2.jpg"), "{value[6:]}"),
    ],
)
def test_a_pattern_that_finds_the_images_is_suggested(tmp_path, image, values, files, suggestion):
    said = advice(tmp_path, values, files, image)
    assert said == f"set --config.data.image='{suggestion}', which finds them"
    assert image_advice(data_fields(shop_config(tmp_path, image=suggestion)), tmp_path) != said


def test_a_suggestion_says_how_many_images_it_finds(tmp_path):
    assert "'i/{value}.jpg', which finds 2 of the 3 " in advice(tmp_path, "123", ("i/1.jpg", "i/2.jpg"))


@pytest.mark.parametrize(
    ("values", "files", "sentence"),
    [
        (
            ("https://x.y/1.jpg", "https://x.y/2.jpg"),
            ("a.jpg", "b.jpg"),
            "'value' holds addresses, and nothing is",
        ),
        (("12", "123"), ("0012.jpg", "0123.jpg"), "lost the zeros that 'value' began with (12 is 0012.jpg"),
        (("xyz",), ("abc.jpg",), "as they are called below data.path, such as 'abc.jpg'"),
        (("https://x.y/1.jpg", "https://x.y/2.jpg"), (), "'value' holds addresses, and nothing is"),
        (("xyz",), ("notes.txt",), "no images below data.path"),
    ],
)
def test_what_no_pattern_mends_is_explained(tmp_path, values, files, sentence):
    assert sentence in advice(tmp_path, values, files, "{value}.jpg" if values[0].isalnum() else "{value}")


def test_files_that_are_gone_need_no_other_pattern(tmp_path):
    assert advice(tmp_path, map(str, range(100, 130)), [f"{i}.jpg" for i in range(101, 130)], "{value}.jpg") == ""


def test_the_advice_is_part_of_the_error(tmp_path):
    advice(tmp_path, "12", ("photos/1.jpg", "photos/2.jpg"))
    config = shop_config(tmp_path, image="images/{value}.jpg")
    with pytest.raises(UserError, match=r"1\.jpg \(line 2: .*: set --config\.data\.image='photos/\{value\}\.jpg'"):
        load_dataset(config)
