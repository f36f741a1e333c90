"""Grad-CAM on models whose answer is known, and on a trained run; overlays; predict --explain."""

import dataclasses
import re
from functools import partial
from types import SimpleNamespace
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from configs import default
from fashion_jax.config.fields import MEAN, STD
from fashion_jax.data.sources.inputs import Input
from fashion_jax.devices.mesh import create_mesh
from fashion_jax.models import resnet, vgg
from fashion_jax.models.batch_norm import BatchNorm
from fashion_jax.models.classifier import MultiHeadModel
from fashion_jax.models.heads import LinearHead
from fashion_jax.models.layers import tapped
from fashion_jax.predict import main
from fashion_jax.serving import grad_cam as explanations
from fashion_jax.serving.answers import Answer
from fashion_jax.serving.explaining import Explained
from fashion_jax.serving.grad_cam import create_grad_cam, jit_heat_maps, map_words, overlay
from fashion_jax.step.program import create_program
from fashion_jax.taxonomy import Taxonomy
from fashion_jax.workdir.trained import load_trained
from tests.shop import write_image
from tests.small_trunks import shrink_trunks
from tests.table_rows import read
from tests.trees import SHOP

TAXONOMY = Taxonomy.from_paths(("main", "sub"), [("a", "x"), ("a", "y"), ("b", "z")])
KERNEL = np.array([[1.0, -2.0, 0.0], [0.5, 1.0, 0.0], [-1.0, 0.0, 0.0]])  # no place speaks for the last class


class Blocks(nn.Module):
    """A trunk whose stages are means over blocks of pixels, and whose features are those over the image."""

    sizes: tuple[int, ...]
    cells_begin: ClassVar[str] = "middle"

    @nn.compact
    def __call__(self, x, *, train):
        x = (x / 255 - jnp.array(MEAN)) / jnp.array(STD)
        for i, size in enumerate(self.sizes):
            x = nn.avg_pool(x, (size, size), (size, size))
            x = tapped(self, f"stage{i + 1}", x)
        return x.mean(axis=(1, 2))


class Pair(nn.Module):
    """Two trunks, the second one's features ten times as large."""

    first: nn.Module
    second: nn.Module

    def __call__(self, x, *, train):
        return jnp.concatenate([self.first(x, train=train), 10 * self.second(x, train=train)], axis=-1)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)


def maps_of(images, config, trunk, kernel, classes, heads=("sub",)):
    model = MultiHeadModel(trunk, {level: LinearHead(TAXONOMY.num_classes(level), norm=None) for level in heads}, {})
    params = {f"heads_{level}": {"logits": {"kernel": kernel, "bias": np.zeros(3, np.float32)}} for level in heads}
    mesh = create_mesh(jax.devices()[:1])
    compute = jit_heat_maps(dataclasses.replace(create_program(config, TAXONOMY, mesh), model=model))
    return compute(params, {}, {"image": images, "classes": classes})


def blocks_of(images, size):
    """The normalised images' means over blocks of size x size, [batch, rows, columns, 3]."""
    pixels = (images / 255 - np.array(MEAN)) / np.array(STD)
    return pixels.reshape(len(images), 32 // size, size, 32 // size, size, 3).mean(axis=(2, 4))


def enlarged(x):
    return np.asarray(jax.image.resize(jnp.maximum(x, 0), (len(x), 32, 32), "linear"))


def scaled(x):
    highest = x.max(axis=(1, 2), keepdims=True)
    return x / np.where(highest > 0, highest, 1)


def test_on_means_with_a_linear_head_it_is_the_head_applied_to_the_map(images, tiny_config):
    """Grad-CAM generalises CAM (Zhou et al. 2016): on the last map that has 4 x 4 cells both agree."""
    classes = {"sub": np.array([0, 1, 2]), "main": np.array([0, 1, 0])}
    heats = maps_of(images, tiny_config, Blocks((4, 2, 2)), KERNEL.astype(np.float32), classes)
    maps = blocks_of(images, 8)
    expected = np.stack([maps[i] @ KERNEL[:, c] for i, c in enumerate(classes["sub"])])
    assert heats["sub"].shape == (3, 32, 32) and heats["sub"].dtype == np.float32
    np.testing.assert_allclose(heats["sub"][:2], scaled(enlarged(expected[:2])), atol=1e-4)
    assert not np.any(heats["sub"][2]), "an image without any evidence stays zero, and is not divided by it"


def test_a_level_without_a_head_is_explained_by_its_children(images, tiny_config):
    """The derivative of log P(a) by the logits of x, y and z is P(x | a) - P(x), P(y | a) - P(y) and -P(z)."""
    classes = {"sub": np.zeros(3, int), "main": np.zeros(3, int)}
    heats = maps_of(images, tiny_config, Blocks((8,)), KERNEL.astype(np.float32), classes)
    maps = blocks_of(images, 8)
    p = np.asarray(jax.nn.softmax(maps.mean(axis=(1, 2)) @ KERNEL))
    slopes = p * [1, 1, 0] / p[:, :2].sum(axis=1, keepdims=True) - p
    contributions = np.einsum("nhwk,kc,nc->nhw", maps, KERNEL, slopes)
    np.testing.assert_allclose(heats["main"], scaled(enlarged(contributions)), atol=1e-4)


def test_two_trunks_count_by_what_they_contribute(images, tiny_config):
    kernel = np.vstack([KERNEL, KERNEL[::-1]])
    classes = {"sub": np.array([0, 1, 0]), "main": np.zeros(3, int)}
    heats = maps_of(images, tiny_config, Pair(Blocks((4,)), Blocks((8,))), kernel.astype(np.float32), classes)
    fine, coarse = blocks_of(images, 4), blocks_of(images, 8)
    first = np.einsum("nhwk,kn->nhw", fine, KERNEL[:, classes["sub"]])
    second = np.einsum("nhwk,kn->nhw", coarse, KERNEL[::-1, classes["sub"]])
    np.testing.assert_allclose(heats["sub"], scaled(enlarged(first) + 10 * enlarged(second)), atol=1e-4)


def test_the_deepest_map_with_enough_cells_is_taken():
    shapes = {"stage1": 16, "stage2": 8, "stage3": 4, "stage4": 2}
    maps = {("trunk", name): jax.ShapeDtypeStruct((1, n, n + 1, 8), jnp.float32) for name, n in shapes.items()}
    assert list(explanations._deepest(maps)) == [("trunk", "stage3")]
    small = {("trunk", "vgg16", "stage4"): maps["trunk", "stage4"]}
    assert set(explanations._deepest(maps | small)) == {("trunk", "stage3"), ("trunk", "vgg16", "stage4")}


@pytest.mark.parametrize(
    ("name", "size", "cells"),
    [
        *[("resnet18", 32, ["4 × 4"]), ("resnet18", 64, ["4 × 4"]), ("resnet18", 80, ["5 × 5"])],
        *[("resnet18", 224, ["7 × 7"]), ("resnet18", (64, 48), ["8 × 6"]), ("resnet18", 16, ["4 × 4"])],
        *[("vgg16", 32, ["4 × 4"]), ("vgg16", 64, ["4 × 4"]), ("hybrid", 64, ["4 × 4", "4 × 4"])],
    ],
)
def test_maps_of_enough_cells_are_taken_and_told(name, size, cells):
    words = words_of(name, size)
    assert [f"{found} cells" for found in cells] == re.findall(r"\d+ × \d+ cells", words) and "too few" not in words


def test_maps_of_too_few_cells_are_told():
    words = words_of("resnet18", 8)
    assert "2 × 2 cells" in words and "too few" in words


def words_of(name, size):
    config = default.get_config()
    config.model.name, config.image_size = name, size
    program = create_program(config, TAXONOMY, create_mesh(jax.devices()[:1]))
    return map_words(SimpleNamespace(config=config, program=program, state=program.abstract_state))


@pytest.mark.parametrize("name", ["resnet34", "vgg16"])
def test_a_cell_is_drawn_where_it_looks(monkeypatch, name):
    """The centroid of the pixels that a cell depends on is that of the cell when it alone is hot."""
    shrink_trunks(monkeypatch)
    create = resnet.create_resnet if name == "resnet34" else vgg.create_vgg
    trunk = create(name, norm=BatchNorm)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(1, 64, 64, 3)), jnp.float32)
    variables = jax.jit(partial(trunk.init, train=False))(jax.random.key(0), images)

    def cell(images):
        maps = trunk.apply(variables, images, train=False, mutable=["intermediates"])[1]["intermediates"]
        x = maps["stage1" if name == "resnet34" else "stage2"][0]
        return x[0, x.shape[1] // 2, x.shape[2] // 4].sum(), x

    (_, x), gradient = jax.jit(jax.value_and_grad(cell, has_aux=True))(images)
    hot = jnp.zeros(x.shape[:3]).at[0, x.shape[1] // 2, x.shape[2] // 4].set(1)
    drawn = explanations._enlarged(hot, (64, 64), trunk.cells_begin)[0]
    np.testing.assert_allclose(centroid(drawn), centroid(np.abs(gradient[0]).sum(-1)), atol=0.6)


def centroid(weights) -> list[float]:
    weights = np.asarray(weights, np.float64) / np.sum(weights)
    return [float((weights.sum(axis=1 - axis) * np.arange(64)).sum()) for axis in (0, 1)]


@pytest.fixture(scope="module")
def trained(finished_run):
    return load_trained(finished_run)


def test_of_a_run_for_any_number_of_images(trained):
    """Batches are padded, and no image affects another."""
    images = np.random.default_rng(1).integers(0, 256, (19, 32, 32, 3)).astype(np.uint8)
    classes = {
        level: np.arange(19, dtype=np.int32) % trained.taxonomy.num_classes(level) for level in trained.taxonomy.levels
    }
    explain = create_grad_cam(trained)
    heats = explain(images, classes)
    few = explain(images[14:17], {level: ids[14:17] for level, ids in classes.items()})
    for level in ("main", "sub"):
        assert heats[level].shape == (19, 32, 32) and heats[level].dtype == np.float32
        assert heats[level].min() >= 0 and set(np.round(heats[level].max(axis=(1, 2)), 5)) <= {0, 1}
        np.testing.assert_allclose(few[level], heats[level][14:17], atol=1e-5)
    assert np.abs(heats["main"] - heats["sub"]).max() > 0.1
    assert explain(images[:0], {level: ids[:0] for level, ids in classes.items()})["sub"].shape == (0, 32, 32)


def test_an_overlay_leaves_cold_places_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    assert np.array_equal(overlay(image, np.zeros((4, 4), np.float32)), image)
    heat = np.zeros((2, 3), np.float32)
    heat[0, 0] = 1
    over = overlay(image, heat)
    assert over.shape == image.shape and over.dtype == np.uint8
    assert np.array_equal(over[10:, 15:], image[10:, 15:]) and not np.array_equal(over[:5, :5], image[:5, :5])
    assert np.array_equal(overlay(image, np.ones((1, 1), np.float64)), overlay(image, np.ones((20, 30))))


def test_each_overlay_is_of_its_own_image_and_class(tmp_path, monkeypatch):
    """A heat map here tells only the class and the grey of the image that it was asked for."""
    drawn = {}

    def asked(images, classes):
        return {level: 100 * ids[:, None, None] + images[..., 0] for level, ids in classes.items()}

    def noted(folder, level, files, images, heats):
        for (number, file), image, heat in zip(files, images, heats, strict=True):
            drawn[number, level] = file, int(image[0, 0, 0]), int(heat[0, 0])

    monkeypatch.setattr(explanations, "create_grad_cam", lambda trained, size: asked)
    monkeypatch.setattr(explanations, "_write_overlays", noted)
    files = [str(tmp_path / f"{i}.png") for i in range(7)]
    for i, file in enumerate(files):
        Image.new("RGB", (8, 8), (10 * i,) * 3).save(file)
    paths = [("Apparel", "Apparel/Top"), ("Gift",), ("Shoes", "Shoes/Boot")]  # gifts have no sub
    answers = [Answer(file, classes=dict(zip(SHOP.levels, paths[i % 3], strict=False))) for i, file in enumerate(files)]
    answers[2] = Answer(files[2], "damaged")
    fields = SimpleNamespace(data=SimpleNamespace(resize="stretch"))
    explained = Explained(SimpleNamespace(taxonomy=SHOP, canvas=(8, 8), config=fields, batch_size=lambda size: size))
    inputs = explained.followed(Input("", file) for file in files)
    assert list(explained.kept(answers[i] for i, _ in enumerate(inputs))) == answers
    assert explained.write(tmp_path, 4) == explained.predicted == 6
    assert drawn == {
        (i, level): (files[i], 10 * i, 100 * SHOP.classes[level].index(name) + 10 * i)
        for i, answer in enumerate(answers)
        for level, name in answer.classes.items()
    }


def test_predict_writes_an_overlay_per_image_and_level(finished_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(explanations, "MAX_EXPLAINED", 4)
    for i, name in enumerate(["0", "a..", "<b>&", "3", "4"]):
        write_image(tmp_path / "in" / str(i) / f"{name}.png", seed=i)
    (tmp_path / "in" / "0" / "bad.jpg").write_text("no image")
    arguments = ["--workdir", str(finished_run), "--input", str(tmp_path / "in"), "--output", str(tmp_path / "p.csv")]
    assert main([*arguments, "--explain", str(tmp_path / "new" / "why"), "--batch-size", "8"]) == 0
    assert len(read(tmp_path / "p.csv")) == 6
    names = sorted(path.name for path in (tmp_path / "new" / "why").iterdir())
    stems = ["00000_0", "00002_a..", "00003__b_", "00004_3"]  # row 1 is no image
    assert names == [f"{stem}_{level}.jpg" for stem in stems for level in ("main", "sub")]
    with Image.open(tmp_path / "new" / "why" / names[0]) as picture:
        assert picture.size == (256, 256)
    assert "4 of 5 images, drawn from maps of 8 × 8 cells." in capsys.readouterr().out
    (tmp_path / "file").touch()
    assert main([*arguments, "--explain", str(tmp_path / "file" / "x")]) == 2
    assert "--explain is" in capsys.readouterr().err
    assert main([*arguments, "--explain", str(tmp_path / "none"), "--workdir", str(tmp_path / "no_run")]) == 2
    assert not (tmp_path / "none").exists(), "nothing is made before the run is known to be there"
