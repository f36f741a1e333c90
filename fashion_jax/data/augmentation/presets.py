"""The presets of config.augment. Names and ranges are torchvision's unless a comment gives a reason."""

from typing import NamedTuple


class Affine(NamedTuple):
    """The largest changes in either direction."""

    degrees: float
    translate: float  # share of the image's height and width
    scale: float  # 0.1: from 0.9 to 1.1
    shear: float  # tangent of the angle


class Jitter(NamedTuple):
    """The largest changes of color.

    Factors are drawn from 1 - value to 1 + value; hue is rotated by up to this fraction of the full circle, both ways.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float


class Policy(NamedTuple):
    """RandAugment or TrivialAugment: how many operations are drawn for each image, and how strong they can be."""

    rounds: int  # operations per image, one after the other
    strength: float | None  # fraction of the ranges below, from 0 to 1; None: one of 31 steps, drawn for each image
    shear: float  # tangent of the angle
    translate: float  # share of the image's height or width
    rotate: float  # degrees
    enhance: float  # brightness, color, contrast and sharpness: factors from 1 - value to 1 + value
    posterize: int  # bits of 8 removed at most


class Preset(NamedTuple):
    """The augmentations of a training image, in this order; the defaults do nothing."""

    crop: tuple[float, float] | None = None  # smallest and largest area of a crop, as shares of the canvas
    flip: bool = False  # half of the images are mirrored
    affine: Affine | None = None
    jitter: Jitter | None = None
    policy: Policy | None = None
    erase: float = 0.0  # share of the images that lose a rectangle
    mix: float = 0.0  # share of the images that are mixed with another one: mixup or CutMix


# Cubuk et al. 2020, two operations of strength 9 of 30.
RAND_AUGMENT = Policy(rounds=2, strength=9 / 30, shear=0.3, translate=150 / 331, rotate=30.0, enhance=0.9, posterize=4)
# Müller and Hutter 2021, wide ranges. They translate by 32 of 224 pixels; here by that share of any size.
TRIVIAL_AUGMENT = Policy(
    rounds=1, strength=None, shear=0.99, translate=32 / 224, rotate=135.0, enhance=0.99, posterize=6
)

PRESETS = {
    "none": Preset(),
    "flip": Preset(flip=True),
    "light": Preset(crop=(0.5, 1.0), flip=True),
    "medium": Preset(
        crop=(0.5, 1.0),
        flip=True,
        affine=Affine(degrees=10.0, translate=0.05, scale=0.1, shear=0.1),
        jitter=Jitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.05),
    ),
    "trivial": Preset(crop=(0.5, 1.0), flip=True, policy=TRIVIAL_AUGMENT),
    # Only half of the images are mixed: runs here are short and see each image only a few times.
    "strong": Preset(crop=(0.35, 1.0), flip=True, policy=RAND_AUGMENT, erase=0.25, mix=0.5),
}
CROPPING = tuple(name for name, preset in PRESETS.items() if preset.crop)  # these need a canvas larger than the image
