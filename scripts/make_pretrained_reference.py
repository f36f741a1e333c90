"""Writes tests/parity/pretrained.json, features of torchvision's networks that tests/test_pretrained.py compares with.

Needs PyTorch, torchvision and numpy and nothing else; takes seconds:

    python -m venv /tmp/torch && /tmp/torch/bin/pip install torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
    /tmp/torch/bin/python -m scripts.make_pretrained_reference
"""

import json

import numpy as np
import torch
import torchvision

from tests.parity import weights


def main() -> None:
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    features = {name: _features(name) for name in weights.ARCHITECTURES}
    reference = {"versions": versions, "features": features}
    weights.REFERENCE.write_text(json.dumps(reference, indent=1) + "\n", encoding="utf-8")
    print(f"{weights.REFERENCE}: {weights.REFERENCE.stat().st_size} bytes")


def _features(name: str) -> dict[str, object]:
    """Returns some features of the drawn image, and the largest of all, computed in float64."""
    model = getattr(torchvision.models, name)(weights=None)
    model.fc, model.classifier = torch.nn.Identity(), torch.nn.Identity()
    shapes = {k: v.shape for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    drawn = weights.draw_state_dict(shapes)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in drawn.items()}, strict=False)
    model = model.double().eval()
    images = (weights.draw_pixels().astype(np.float64) / 255 - weights.MEAN) / weights.STD
    with torch.inference_mode():
        x = torch.from_numpy(images).permute(0, 3, 1, 2)
        # A VGG's map is flattened height by width by channel here, and channel by height by width in torchvision.
        y = model.avgpool(model.features(x)).permute(0, 2, 3, 1).flatten(1) if hasattr(model, "features") else model(x)
    return {"largest": float(y.abs().max()), "chosen": weights.chosen(y.numpy()).tolist()}


if __name__ == "__main__":
    main()
