"""A small set in each of TFDS's formats."""

from pathlib import Path

import numpy as np

SHAPE = (8, 6)
NAMES = ["shirt", "shoe", "coat"]
TAXONOMY = "Apparel: [coat, shirt]\nFootwear: [shoe]\n"


def pixels_of(split: str, i: int) -> np.ndarray:
    return np.random.default_rng([len(split), i]).integers(0, 256, (*SHAPE, 3), np.uint8)


def write_set(folder: Path, file_format: str) -> Path:
    """Writes 40 training and 12 test images by TFDS's own writer; returns the TFDS directory."""
    import tensorflow_datasets as tfds

    class TinyFashion(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(*SHAPE, 3)),
                "label": tfds.features.ClassLabel(names=NAMES),
                "group": tfds.features.ClassLabel(names=["apparel", "footwear"]),
                "id": tfds.features.Text(),
            }
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples("train", 40), "test": self._generate_examples("test", 12)}

        def _generate_examples(self, split, count):
            for i in range(count):
                label = NAMES[i % 3]
                group = "footwear" if label == "shoe" else "apparel"
                yield i, {"image": pixels_of(split, i), "label": label, "group": group, "id": f"{split}-{i}"}

    builder = TinyFashion(data_dir=str(folder), file_format=file_format)
    builder.download_and_prepare()
    return Path(builder.data_dir)
