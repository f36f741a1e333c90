"""Writes tests/parity/reference.npz, the results of PyTorch that tests/test_parity.py compares with.

Needs PyTorch and numpy and nothing else; takes a minute and 3 GB:

    python -m venv /tmp/torch && /tmp/torch/bin/pip install torch==2.13.0 numpy==2.4.6
    /tmp/torch/bin/python -m scripts.make_parity_reference
"""

import re
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
)

from benchmarks.torch_twin import VGG16, TwinClassifier, create_twin
from tests.parity import inputs
from tests.parity.inputs import Case

_VGG_FEATURES = 512 * 7 * 7  # of VGG-16, pooled
_LAST_NAMES = {"bias": "bias", "running_mean": "mean", "running_var": "var"}


def main() -> None:
    reference = {"torch": np.asarray(torch.__version__), **_schedules(), **_adamw(), **_label_smoothing()}
    for case in inputs.FORWARD:
        reference |= _forward(case)
    for case in inputs.TRAINING:
        reference |= _train(case)
    np.savez_compressed(inputs.REFERENCE, **reference)
    print(f"{inputs.REFERENCE}: {len(reference)} arrays, {inputs.REFERENCE.stat().st_size} bytes")


def _schedules() -> dict[str, np.ndarray]:
    reference = {}
    for num_epochs in inputs.SCHEDULE_EPOCHS:
        for name in inputs.SCHEDULES:
            optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=inputs.LEARNING_RATE)
            scheduler = _scheduler(optimizer, name, num_epochs)
            rates = []
            for _ in range(num_epochs):
                rates += scheduler.get_last_lr()
                optimizer.step()
                scheduler.step()
            reference[f"{name}/{num_epochs}"] = np.asarray(rates)
    return reference


def _scheduler(optimizer: torch.optim.Optimizer, name: str, num_epochs: int) -> LRScheduler:
    warmup = inputs.WARMUP_EPOCHS
    if name == "cosine":
        return CosineAnnealingLR(optimizer, T_max=num_epochs)
    if name == "exponential":
        return ExponentialLR(optimizer, gamma=inputs.LEARNING_RATE_DECAY)
    if name == "one_cycle":
        return OneCycleLR(optimizer, max_lr=inputs.LEARNING_RATE, total_steps=num_epochs, cycle_momentum=False)
    rising = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    cosine = CosineAnnealingLR(optimizer, T_max=num_epochs - warmup)
    return SequentialLR(optimizer, [rising, cosine], milestones=[warmup])


def _adamw() -> dict[str, np.ndarray]:
    """The parameters after each of a few updates with given gradients."""
    values, gradients = inputs.draw_updates()
    params = torch.nn.Parameter(torch.from_numpy(values))
    optimizer = torch.optim.AdamW(
        [params], lr=inputs.LEARNING_RATE, betas=(inputs.MOMENTUM, 0.99), weight_decay=inputs.WEIGHT_DECAY
    )
    steps = []
    for gradient in gradients:
        params.grad = torch.from_numpy(gradient)
        optimizer.step()
        steps.append(params.detach().numpy().copy())
    return {"adamw": np.stack(steps)}


def _label_smoothing() -> dict[str, np.ndarray]:
    """The loss with smoothed labels, some unknown, without and with weights of the classes."""
    logits, labels, weights = map(torch.from_numpy, inputs.draw_smoothing())
    losses = [
        nn.functional.cross_entropy(
            logits, labels.long(), weight=w, ignore_index=-1, label_smoothing=inputs.LABEL_SMOOTHING
        )
        for w in (None, weights)
    ]
    return {"label_smoothing": torch.stack(losses).numpy()}


def _forward(case: Case) -> dict[str, np.ndarray]:
    model = _create_model(case).eval()
    with torch.no_grad():
        logits = model(_images(case))
    for level, x in logits.items():
        print(f"{case.name}: logits of {level} {x.abs().min():.2g} to {x.abs().max():.2g}, std {x.std():.2g}")
    return {f"forward/{case.name}/{level}": x.numpy() for level, x in logits.items()}


def _train(case: Case) -> dict[str, np.ndarray]:
    model = _create_model(case).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    losses, gradients = _run_steps(model, case)
    print(f"{case.name}: losses {losses}")
    buffers = {name: x for name, x in model.named_buffers() if x.is_floating_point()}
    return {
        f"train/{case.name}/losses": np.asarray(losses),
        f"train/{case.name}/gradients": gradients,
        f"train/{case.name}/params": _summarise(model, dict(model.named_parameters())),
        f"train/{case.name}/batch_stats": _summarise(model, buffers),
    }


def _run_steps(model: TwinClassifier, case: Case) -> tuple[list[float], np.ndarray]:
    """The loss of each step, and the summary of the first one's gradients."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=case.learning_rate, momentum=inputs.MOMENTUM, weight_decay=inputs.WEIGHT_DECAY
    )
    scheduler = CosineAnnealingLR(optimizer, T_max=inputs.NUM_STEPS)
    images = _images(case)
    labels = {level: torch.from_numpy(inputs.draw_labels(case, level)).long() for level, _ in case.heads}
    losses, gradients = [], []
    for _ in range(inputs.NUM_STEPS):
        optimizer.zero_grad()
        loss = sum(nn.functional.cross_entropy(x, labels[level], ignore_index=-1) for level, x in model(images).items())
        loss.backward()
        losses.append(loss.item())
        gradients.append(_summarise(model, {name: param.grad for name, param in model.named_parameters()}))
        optimizer.step()
        scheduler.step()
    return losses, gradients[0]


def _create_model(case: Case) -> TwinClassifier:
    """In float64, with the weights of the case."""
    heads = {level: (head, inputs.NUM_CLASSES[level]) for level, head in case.heads}
    model = create_twin(case.trunk, heads).double()
    state = model.state_dict()
    for name, path in _flax_paths(model):
        shape = _to_flax(path, state[name]).shape
        state[name].copy_(_to_torch(path, torch.from_numpy(inputs.draw_leaf(path, tuple(shape)))))
    return model


def _images(case: Case) -> Tensor:
    return torch.from_numpy(inputs.draw_images(case)).double().permute(0, 3, 1, 2)


def _summarise(model: TwinClassifier, leaves: dict[str, Tensor]) -> np.ndarray:
    paths = dict(_flax_paths(model))
    return inputs.summarise({paths[name]: _to_flax(paths[name], x.detach()).numpy() for name, x in leaves.items()})


def _flax_paths(model: TwinClassifier) -> Iterator[tuple[str, str]]:
    """The name of each parameter and running statistic in PyTorch, and its path in flax."""
    convs = _vgg_convs(model.trunk) if isinstance(model.trunk, VGG16) else {}
    for name, tensor in model.state_dict().items():
        module, _, last = name.rpartition(".")
        if last == "num_batches_tracked":
            continue
        last = _LAST_NAMES.get(last) or ("scale" if tensor.ndim == 1 else "kernel")
        module = convs.get(module, module)
        module = re.sub(r"(layer\d)\.(\d)", r"\1_\2", module).replace("heads.", "heads_")
        module = module.replace("downsample.0", "downsample_conv").replace("downsample.1", "downsample_bn")
        yield name, f"{module}.{last}".replace(".", "/")


def _vgg_convs(trunk: VGG16) -> dict[str, str]:
    names, stage, index = {}, 1, 1
    for i, layer in enumerate(trunk.features):
        if isinstance(layer, nn.Conv2d):
            names[f"trunk.features.{i}"] = f"trunk.conv{stage}_{index}"
            index += 1
        elif isinstance(layer, nn.MaxPool2d):
            stage, index = stage + 1, 1
    return names


def _to_flax(path: str, tensor: Tensor) -> Tensor:
    """Convolutions OIHW to HWIO, dense kernels transposed, VGG's first one from C,H,W to H,W,C."""
    if tensor.ndim == 4:
        return tensor.permute(2, 3, 1, 0)
    if tensor.ndim == 2 and _reads_vgg(path, tensor.shape[1]):
        return tensor.reshape(-1, 512, 7, 7).permute(2, 3, 1, 0).reshape(tensor.shape[1], -1)
    return tensor.T if tensor.ndim == 2 else tensor


def _to_torch(path: str, tensor: Tensor) -> Tensor:
    """The inverse of _to_flax."""
    if tensor.ndim == 4:
        return tensor.permute(3, 2, 0, 1)
    if tensor.ndim == 2 and _reads_vgg(path, tensor.shape[0]):
        return tensor.reshape(7, 7, 512, -1).permute(3, 2, 0, 1).reshape(-1, tensor.shape[0])
    return tensor.T if tensor.ndim == 2 else tensor


def _reads_vgg(path: str, num_features: int) -> bool:
    return path.endswith("linear1/kernel") and num_features == _VGG_FEATURES


if __name__ == "__main__":
    main()
