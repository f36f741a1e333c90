"""Shows which part of an image speaks for a class: Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array

from fashion_jax.atomic import replacing
from fashion_jax.config.loading import image_shape
from fashion_jax.data.augmentation import prepare_eval
from fashion_jax.data.batches.chosen_images import decode_files, decode_rows
from fashion_jax.devices.mesh import fetch, held_alone, put_batch
from fashion_jax.models.classifier import MultiHeadModel
from fashion_jax.step.losses import level_log_probs
from fashion_jax.step.train_step import StepParts, jit_on_batches
from fashion_jax.taxonomy import UNKNOWN
from fashion_jax.workdir.trained import Trained

if TYPE_CHECKING:
    from PIL import Image

    from fashion_jax.data.dataset import Split

MAX_EXPLAINED = 1000  # images whose overlays are written as files

_MIN_CELLS = 4  # smallest side of an explained map: cells of smaller maps are bands over the whole image
_OPACITY = 0.65  # where the heat is greatest

_SHOWN_SIZE = 256  # pixels, about, on the longer side of an overlay file

Maps = dict[tuple[str, ...], Array]  # path of a tapped map in the model -> [batch, height, width, channels]

GradCam = Callable[[np.ndarray, Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def create_grad_cam(trained: Trained, batch_size: int | None = None) -> GradCam:
    """Returns a function that computes heat maps of images for chosen classes, compiled at its first call.

    Its arguments are canvases as the run decodes them, uint8 [n, height, width, 3], and level -> id of the class to
    explain, int [n], of all levels of the run. It returns level -> float32 [n, height, width], from 0 to 1: each
    image's maximum is 1; all is 0 where no place speaks for the class.

    Args:
        trained: a loaded run.
        batch_size: images per batch; by default the run's, or its first multiple from 64 on.
    """
    size, state = trained.batch_size(batch_size), trained.state
    compute = jit_heat_maps(trained.program)

    def explain(images: np.ndarray, classes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        parts = []
        for start in range(0, max(len(images), 1), size):
            batch = {"image": images, "classes": dict(classes)}
            batch = jax.tree.map(lambda x, start=start: _filled(x[start : start + size], size), batch)
            with held_alone(trained.mesh):
                parts.append(fetch(compute(state.params, state.model_state, put_batch(batch, trained.mesh))))
        return {level: np.concatenate([part[level] for part in parts])[: len(images)] for level in parts[0]}

    return explain


def map_words(trained: Trained) -> str:
    """Says in words how many cells the heat maps of a run are drawn from, and whether they are too few."""
    config, state, model = trained.config, trained.state, trained.program.model

    def maps(params: Any, model_state: Any) -> Maps:
        images = jnp.zeros((1, *image_shape(config), 3), jnp.dtype(config.dtype))
        return _apply(model, {"params": params, **model_state}, images)[1]

    chosen = _deepest(jax.eval_shape(maps, state.params, state.model_state))
    sizes = [x.shape[1:3] for x in chosen.values()]
    words = "maps of " + " and of ".join(f"{rows} × {columns} cells" for rows, columns in sizes)
    if min(map(min, sizes)) < _MIN_CELLS:
        words += ", too few to tell one place from another: use images of at least 32 pixels"
    return words


def jit_heat_maps(parts: StepParts) -> jax.stages.Wrapped:
    """Jits `heat_maps` of (params, model_state, batch), see `jit_on_batches`."""
    return jit_on_batches(heat_maps, parts)


def heat_maps(params: Any, model_state: Any, batch: Mapping[str, Any], *, parts: StepParts) -> dict[str, Array]:
    """Computes Grad-CAM of every level at once: one forward pass, and one backward pass per level.

    The explained score is the logit of the class, or the log-probability at a level without a head. Its gradient is
    taken at the deepest map of the trunk that has at least 4 x 4 cells. A hybrid has two such maps, one per trunk,
    whose contributions to the logit, per area of the image, are added: a trunk that contributes little adds little.

    Args:
        params: of the model.
        model_state: of the model.
        batch: image, uint8 canvases [batch, height, width, 3]; classes, level -> int [batch].
        parts: the model, whose trunks have tapped maps (see models.layers.tapped), its classes and its config.

    Returns:
        Level -> float32 [batch, height, width], scaled as in `create_grad_cam`.
    """
    config, model, taxonomy = parts.config, parts.model, parts.taxonomy
    images = prepare_eval(batch["image"], image_shape(config), jnp.dtype(config.dtype))
    variables = {"params": params, **model_state}

    def apply(perturbations: Any) -> tuple[dict[str, Array], Maps]:
        logits, maps = _apply(model, variables | {"perturbations": perturbations}, images)
        return level_log_probs(logits, taxonomy) | logits, maps

    chosen = _deepest(jax.eval_shape(lambda: apply({})[1]))
    nothing = unflatten_dict({path: jnp.zeros(x.shape, x.dtype) for path, x in chosen.items()})
    scores, backward, maps = jax.vjp(apply, nothing, has_aux=True)
    heats = {}
    for level in taxonomy.levels:
        picked = jax.nn.one_hot(batch["classes"][level], taxonomy.num_classes(level), dtype=scores[level].dtype)
        (gradients,) = backward({k: picked if k == level else jnp.zeros_like(x) for k, x in scores.items()})
        enlarged = [
            _enlarged(_contribution(maps[path], g), batch["image"].shape[1:3], _trunk(model, path).cells_begin)
            for path, g in flatten_dict(gradients).items()
        ]
        heats[level] = _scaled(reduce(operator.add, enlarged))
    return heats


def _apply(model: MultiHeadModel, variables: Mapping[str, Any], images: Array) -> tuple[dict[str, Array], Maps]:
    """Returns the logits of images, and the tapped maps."""
    logits, state = model.apply(variables, images, train=False, mutable=["intermediates"])
    return logits, {path: x for path, (x,) in flatten_dict(state["intermediates"]).items()}


def _trunk(model: MultiHeadModel, path: tuple[str, ...]) -> Any:
    """Returns the trunk in which a map is tapped."""
    return reduce(getattr, path[:-1], model)


def _deepest(maps: Mapping[tuple[str, ...], Any]) -> dict[tuple[str, ...], Any]:
    """Returns each trunk's last map with enough cells, or its first map; maps are in the order of computation."""
    chosen: dict[tuple[str, ...], tuple[tuple[str, ...], Any]] = {}
    for path, x in sorted(maps.items()):
        if min(x.shape[1:3]) >= _MIN_CELLS or path[:-1] not in chosen:
            chosen[path[:-1]] = path, x
    return dict(chosen.values())


def _contribution(activations: Array, gradients: Array) -> Array:
    """Returns the contribution to the class's score of the cells that speak for it, per area of the image.

    Channels are weighted by their mean gradient; cells that speak against the class are 0. The shape is [batch, height,
    width].
    """
    activations, gradients = (x.astype(jnp.float32) for x in (activations, gradients))
    weights = gradients.mean(axis=(1, 2), keepdims=True)
    return jax.nn.relu((weights * activations).sum(axis=-1)) * np.prod(activations.shape[1:3])


def _enlarged(x: Array, shape: tuple[int, int], cells_begin: str) -> Array:
    """Resizes x [batch, rows, columns] linearly to [batch, *shape], with each cell centred on its receptive field."""
    scale = jnp.asarray([after / before for after, before in zip(shape, x.shape[1:], strict=True)], x.dtype)
    shift = -(scale - 1) / 2 if cells_begin == "edge" else jnp.zeros_like(scale)
    padded = jnp.pad(x, [(0, 0), (1, 1), (1, 1)], mode="edge")  # covers the area beyond the outer cells' centres
    return jax.image.scale_and_translate(
        padded, (len(x), *shape), (1, 2), scale, shift - scale, "linear", antialias=False
    )


def _scaled(heat: Array) -> Array:
    highest = heat.max(axis=(1, 2), keepdims=True)
    return heat / jnp.where(highest > 0, highest, 1)


def _filled(x: np.ndarray, size: int) -> np.ndarray:
    return np.pad(x, [(0, size - len(x)), *[(0, 0)] * (x.ndim - 1)])


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Draws a heat map over an image, uint8 [height, width, 3]; places without heat are unchanged.

    Args:
        image: uint8 [height, width, 3].
        heat: from 0 to 1, of any height and width; it is resized to the image's.
    """
    import cv2
    from PIL import Image

    height, width = image.shape[:2]
    resized = Image.fromarray(np.asarray(heat, np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    heat = np.clip(np.asarray(resized), 0, 1)
    colors = cv2.applyColorMap(np.rint(255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = _OPACITY * heat[..., None]
    return np.rint(opacity * colors + (1 - opacity) * image).astype(np.uint8)


def explain_files(
    trained: Trained,
    files: Sequence[str],
    classes: Mapping[str, np.ndarray],
    numbers: Sequence[int],
    folder: Path,
    batch_size: int | None = None,
) -> int:
    """Writes an overlay per image and level, FOLDER/NUMBER_NAME_LEVEL.jpg, for the first MAX_EXPLAINED images.

    Args:
        trained: a loaded run.
        files: decodable image files.
        classes: level -> id of the class to explain, int [files]; UNKNOWN (-1) writes no overlay.
        numbers: of the files, for their names.
        folder: exists.
        batch_size: images per batch; by default the run's, or its first multiple from 64 on.

    Returns:
        The number of images with overlays.
    """
    files = files[:MAX_EXPLAINED]
    explain = create_grad_cam(trained, batch_size)
    size, count = trained.batch_size(batch_size), 0
    for indices, pixels in decode_files(files, trained.canvas, trained.config.data.resize, size):
        images = pixels[: len(indices)]
        heats = explain(images, {level: ids[indices] for level, ids in classes.items()}) if len(indices) else {}
        for level, maps in heats.items():
            chosen = np.flatnonzero(classes[level][indices] != UNKNOWN)
            names = [(numbers[i], files[i]) for i in indices[chosen]]
            _write_overlays(folder, level, names, images[chosen], maps[chosen])
        count += len(indices)
    return count


def _write_overlays(
    folder: Path, level: str, files: Iterable[tuple[int, str]], images: np.ndarray, heats: np.ndarray
) -> None:
    from PIL import Image

    for (number, file), image, heat in zip(files, images, heats, strict=True):
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", Path(file).stem)[:60]
        picture = Image.fromarray(image)
        scale = max(_SHOWN_SIZE // max(picture.size), 1)
        picture = picture.resize([scale * side for side in picture.size], Image.Resampling.BICUBIC)
        with replacing(folder / f"{number:05d}_{name}_{level}.jpg") as temporary:
            Image.fromarray(overlay(np.asarray(picture), heat)).save(temporary, "JPEG", quality=90)


def explainer(trained: Trained, split: Split) -> Explain:
    """Returns the function that draws heat maps of a run over images of a split."""
    compute = create_grad_cam(trained)

    def explain(rows: Sequence[int], classes: Mapping[str, np.ndarray]) -> dict[str, list[Image.Image | None]]:
        from PIL import Image

        indices, images = decode_rows(split, rows, trained.canvas, trained.config.data.resize)
        heats = compute(images, {level: ids[indices] for level, ids in classes.items()}) if len(indices) else {}
        pictures: dict[str, list[Any]] = {level: [None] * len(rows) for level in classes}
        for level, maps in heats.items():
            for index, image, heat in zip(indices.tolist(), images, maps, strict=True):
                pictures[level][index] = Image.fromarray(overlay(image, heat))
        return pictures

    return explain


class Explain(Protocol):
    """A function that draws heat maps over images of a split."""

    def __call__(self, rows: Sequence[int], classes: Mapping[str, np.ndarray]) -> Mapping[str, Sequence[Any]]:
        """Returns level -> a PIL image under a heat map for each of `rows`; None where there is none.

        Args:
            rows: indices into the split.
            classes: level -> int [rows], the class to explain; all levels.
        """
