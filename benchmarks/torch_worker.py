"""Runs PyTorch's side of a comparison in a process of its own: python -m benchmarks.torch_worker JSON.

The JSON has the model, its heads, image_size, batch_size, optimizer and threads; device (cpu | cuda), dtype (float32,
on GPUs with TF32 | bfloat16, by autocast) and stages, of a small trunk, may be left out. Each line on stdin is
{"prepare": VARIANT} or {"run": VARIANT, "steps": N}; the answers are {"result": SECONDS}, of one step, or
{"error": SENTENCE}. A variant is contiguous, channels_last or compiled (channels_last and torch.compile), followed by
" train" or " inference".
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
    "compiled": torch.channels_last,
}
_BATCHES, _WARMUP = 4, 2


def main() -> None:
    """Says PyTorch's version, then does what the lines on stdin ask for until it ends."""
    case = {"device": "cpu", "dtype": "float32"} | json.loads(sys.argv[1])
    if case["device"] == "cuda" and not torch.cuda.is_available():
        _say(error=f"version {torch.__version__} finds no CUDA device.")
        return
    torch.manual_seed(0)
    torch.set_num_threads(case["threads"])
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs, as in JAX
    _say(result=torch.__version__)
    steps: dict[str, Callable[[], None]] = {}
    for line in sys.stdin:
        try:
            _say(result=_do(case, steps, **json.loads(line)))
        except Exception as error:
            _say(error=f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300]}")


def _do(
    case: dict[str, Any], variants: dict[str, Callable[[], None]], prepare: str = "", run: str = "", steps: int = 1
) -> float:
    """Prepares or runs a variant; returns the seconds of the preparation or of a step."""
    began = time.perf_counter()
    if prepare:
        variants[prepare] = _create_step(case, *prepare.split(" "))
        run, steps = prepare, _WARMUP
    for _ in range(steps):
        variants[run]()
    if case["device"] == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    return seconds if prepare else seconds / steps


def _create_step(case: dict[str, Any], variant: str, mode: str) -> Callable[[], None]:
    """Returns a function that runs a step on the next of a few batches in memory."""
    memory_format = _FORMATS[variant]
    model = create_twin(case["model"], case["heads"], case.get("stages"))
    model = model.to(case["device"], memory_format=memory_format).train(mode == "train")
    optimizer = torch.optim.SGD(model.parameters(), fused=True, **case["optimizer"])
    forward = torch.compile(model) if variant == "compiled" else model
    batches = [_batch(case, memory_format) for _ in range(_BATCHES)]
    count = 0

    def step() -> None:
        nonlocal count
        images, labels = batches[count % _BATCHES]
        count += 1
        if mode == "train":
            _train(case, forward, optimizer, images, labels)
            return
        with torch.inference_mode(), _autocast(case):
            for logits in forward(images).values():
                logits.log_softmax(1)

    return step


def _batch(case: dict[str, Any], memory_format: torch.memory_format) -> tuple[Tensor, dict[str, Tensor]]:
    shape, device = (case["batch_size"], 3, *case["image_size"]), case["device"]
    images = torch.randn(shape, device=device).contiguous(memory_format=memory_format)
    heads = case["heads"].items()
    return images, {level: torch.randint(classes, shape[:1], device=device) for level, (_, classes) in heads}


def _autocast(case: dict[str, Any]) -> torch.autocast:
    return torch.autocast(case["device"], torch.bfloat16, enabled=case["dtype"] == "bfloat16")


def _train(
    case: dict[str, Any],
    forward: Callable[[Tensor], dict[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: dict[str, Tensor],
) -> None:
    optimizer.zero_grad()
    with _autocast(case):
        losses = (nn.functional.cross_entropy(logits, labels[level]) for level, logits in forward(images).items())
        loss = sum(losses)
    loss.backward()
    optimizer.step()


def _say(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
