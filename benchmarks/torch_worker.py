"""Runs PyTorch's side of a comparison in a process of its own: python -m benchmarks.torch_worker JSON.

It does a step for each line on stdin, which names the variant, and answers with the seconds that it took.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.torch_twin import create_twin

_FORMATS = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
    "compiled": torch.channels_last,  # with torch.compile
}
_BATCHES = 4


def main() -> None:
    """Creates the variants that the JSON names, lists them, and runs steps until stdin ends."""
    case = json.loads(sys.argv[1])
    torch.manual_seed(0)
    torch.set_num_threads(case["threads"])
    steps = {name: _warmed(_create_step(case, name)) for name in case["variants"]}
    _say({"torch": torch.__version__, "variants": list(steps)})
    for line in sys.stdin:
        began = time.perf_counter()
        steps[line.strip()]()
        _say(time.perf_counter() - began)


def _create_step(case: dict[str, Any], variant: str) -> Callable[[], None]:
    """Returns a function that runs a step on the next of a few batches in memory."""
    memory_format = _FORMATS[variant]
    model = create_twin(case["model"], case["heads"]).to(memory_format=memory_format)
    optimizer = torch.optim.SGD(model.parameters(), fused=True, **case["optimizer"])
    model.train(case["train"])
    forward = torch.compile(model) if variant == "compiled" else model
    shape = (case["batch_size"], 3, *case["image_size"])
    batches = [_batch(shape, case["heads"], memory_format) for _ in range(_BATCHES)]
    count = 0

    def step() -> None:
        nonlocal count
        images, labels = batches[count % _BATCHES]
        count += 1
        if case["train"]:
            _train(forward, optimizer, images, labels)
            return
        with torch.inference_mode():
            for logits in forward(images).values():
                logits.log_softmax(1)

    return step


def _batch(
    shape: tuple[int, ...], heads: dict[str, tuple[str, int]], memory_format: torch.memory_format
) -> tuple[Tensor, dict[str, Tensor]]:
    images = torch.randn(shape).contiguous(memory_format=memory_format)
    return images, {level: torch.randint(classes, shape[:1]) for level, (_, classes) in heads.items()}


def _train(
    forward: Callable[[Tensor], dict[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: dict[str, Tensor],
) -> None:
    optimizer.zero_grad()
    losses = (nn.functional.cross_entropy(logits, labels[level]) for level, logits in forward(images).items())
    sum(losses).backward()
    optimizer.step()


def _warmed(step: Callable[[], None]) -> Callable[[], None]:
    for _ in range(2):
        step()
    return step


def _say(value: Any) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
