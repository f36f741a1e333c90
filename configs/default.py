"""Every field and its default. Overlays change only what differs; the command line has the last word.

The recipe is the report's: a ResNet-34 trunk shared by one head per label level, SGD with momentum and
PyTorch's weight decay, cosine annealing stepped per epoch.
"""

from ml_collections import ConfigDict


def section(**fields) -> ConfigDict:
    """Fields whose tables (of levels, of splits) stay plain dicts, which keep their order."""
    return ConfigDict(fields, type_safe=False, convert_dict=False, sort_keys=False)


def get_config() -> ConfigDict:
    config = section()
    config.seed = 0  # everything random is a pure function of (seed, step) or (seed, epoch)
    config.image_size = 64  # what the network sees: an int, or (height, width), in pixels
    config.batch_size = 64  # global: images per step over all devices and processes
    config.num_epochs = 8

    config.learning_rate = 0.01  # of the first epoch
    config.momentum = 0.9
    config.weight_decay = 5e-4  # PyTorch's: L2 added to the gradient of every parameter, before momentum
    config.schedule = "cosine"  # stepped per epoch: cosine (to 0 over num_epochs) | exponential
    config.learning_rate_decay = 0.9  # per epoch, where schedule = exponential

    config.loss_weights = {}  # level -> weight in the total loss; 1 where a level is not named
    config.batch_norm = "global"  # statistics over: global (batch) | group (of images) | local (device)
    config.batch_norm_group_size = 32  # images that share statistics, where batch_norm = group
    config.dtype = "float32"  # of the computation: float32 | bfloat16 | float64 (for tests; slow)
    config.on_nonfinite = "stop"  # a loss that is not finite: stop
    config.accumulate = 1  # parts of a batch whose gradients are added up; BatchNorm then sees one part at a time
    config.steps_per_dispatch = 1  # steps that go to the device at once, for small ones; none spans an epoch's end
    # what the backward pass keeps: none (computes nothing again) | dots (outputs of convolutions and matrix
    # products) | blocks (what each block of a ResNet takes in)
    config.remat = "none"
    config.augment = "flip"  # none | flip | light (flips, and crops of 0.5 to 1 of the canvas)

    config.model = section(
        name="resnet34",  # resnet10 | resnet18 | resnet34 | vgg16
        # level -> head: main | sub (the report's two) | classifier (torchvision's VGG-16) | linear.
        # Empty: main for the first level, sub for every further one. A level left out of a non-empty
        # table is not trained; its probabilities are the sums of its children's.
        heads={},
    )

    config.checkpoint = section(
        every_steps=500,  # besides the end of every epoch
        keep=2,  # latest ones; the best is kept besides
        best="",  # e.g. validation/sub/accuracy; empty: macro_f1 of the finest level
    )

    config.data = section(
        source="catalogue",  # catalogue (generated, no download) | csv (a table and a folder)
        path="",  # folder of the data, or a zip of it
        csv="",  # the table, relative to path; empty: styles.csv
        image="images/{id}.jpg",  # file of a row, relative to path; {COLUMN} is the row's value
        levels={"main": "masterCategory", "sub": "subCategory"},  # ordered, coarse to fine: level -> column
        taxonomy="",  # a taxonomy.json that fixes the classes; empty: made from the training rows
        # split -> a file of ids (relative to path) or a fraction of the rows; or the name of a column
        # whose values are train and validation.
        splits={"train": 0.8, "validation": 0.2},
        group_column="",  # rows with the same value stay in one split, where splits are fractions
        min_images_per_class=1,  # classes with fewer training images are left out
        max_bad_fraction=0.01,  # more missing images than this stops the run
        resize="stretch",  # to the canvas: stretch | crop (the middle) | letterbox (white bars)
        canvas_size=0,  # what is decoded to, and crops are taken from; 0: 1.25 x image_size if augment crops
        cache="auto",  # decoded images: host (all in memory) | none (streamed) | auto (host up to 2 GiB)
        cache_dir="",  # generated catalogues and extracted zips; empty: ~/.cache/fashion_jax
        catalogue=section(  # the generated one
            num_images=6000,
            seed=0,
            label_noise=0.0,  # share of the images that get a wrong label, for experiments
        ),
    )

    config.log_every_steps = 20  # how often the loss is fetched for the progress line
    return config.lock()
