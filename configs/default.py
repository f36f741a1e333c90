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
    config.clip_gradient_norm = 0.0  # of all parameters together, before weight decay; 0: no limit
    config.deterministic = False  # GPUs too repeat every bit, a little slower; CPUs and TPUs always do
    # An update whose loss or gradient is not finite is skipped and counted. At the first one the run stops (stop);
    # or after max_in_a_row of them it stops (skip), or goes back to the last good checkpoint and on with a lower
    # learning rate (rollback).
    config.on_nonfinite = "skip"
    config.nonfinite = section(
        max_in_a_row=10,
        learning_rate_factor=0.5,  # of each rollback
        max_rollbacks=3,  # then the run stops
    )
    config.accumulate = 1  # parts of a batch whose gradients are added up; BatchNorm then sees one part at a time
    config.steps_per_dispatch = 1  # steps that go to the device at once, for small ones; none spans an epoch's end
    # what the backward pass keeps: none (computes nothing again) | dots (outputs of convolutions and matrix
    # products) | blocks (what each block of a ResNet takes in)
    config.remat = "none"
    # What training images go through: none | flip (the report's) | light (flip, crops of 0.5 to 1 of the canvas) |
    # medium (light, slight affine maps, color jitter) | trivial (light, TrivialAugment) | strong (flip, crops of 0.35
    # to 1, RandAugment, erasing, mixup and CutMix).
    config.augment = "flip"
    config.eval_flip = False  # predict the mean of the probabilities of an image and of its mirror image

    config.model = section(
        name="resnet34",  # resnet10 | resnet18 | resnet34 | vgg16 | hybrid (resnet34 and vgg16 side by side)
        fusion="concatenate",  # of the hybrid's features: concatenate | gated (Arevalo et al. 2017)
        init_from={},  # trunk -> --workdir of a run, whose best checkpoint has the trunk to start from; heads are new
        frozen=[],  # trunks of init_from that stay as they are, BatchNorm's statistics included
        # level -> head: main | sub (the report's two) | classifier (torchvision's VGG-16) | linear.
        # Empty: main for the first level, sub for every further one. A level left out of a non-empty
        # table is not trained; its probabilities are the sums of its children's.
        heads={},
        # A level's logits gain W p, p being the probabilities of the level above; in training the true class, so that
        # training's metrics know it (Condition-CNN, Kolisnik et al. 2021). Needs a head for each level.
        condition_on_parent=False,
    )

    config.rare_classes = section(  # tables: level -> choice; a level that is not named is left as it is
        weights={},  # of the classes in the loss: inverse (1 / images) | effective (Cui et al. 2019)
        beta=0.999,  # of effective weights: about 1 / (1 - beta) images of a class count
        loss={},  # balanced_softmax (Ren et al. 2020) | logit_adjustment (Menon et al. 2020, with tau)
        tau=1.0,  # how far logit_adjustment goes; at 1 it is balanced_softmax
        post_hoc={},  # logit adjustment after training instead, when predicting: level -> its tau
        draw={},  # one level -> class_balanced | square_root: how an epoch's images are drawn, with replacement
    )

    config.checkpoint = section(
        every_steps=500,  # besides the end of every epoch
        keep=2,  # latest ones; the best is kept besides
        best="",  # e.g. validation/sub/accuracy; empty: macro_f1 of the finest level
    )

    config.data = section(
        # catalogue (generated, no download) | csv (a table and a folder) | folder (MAIN/SUB/*.jpg, or CLASS/*.jpg
        # with a taxonomy; below train/ and validation/, or the like, where these exist) | tfds (of TensorFlow Datasets)
        source="catalogue",
        path="",  # folder of the data, or a zip of it; a directory of or with a TFDS set (empty: TFDS's own)
        tfds="",  # the TFDS set, e.g. fashion_mnist or NAME/CONFIG:VERSION, where path is not the directory of one
        csv="",  # the table, relative to path: CSV or .parquet; empty: styles.csv
        # image of a row, relative to path: {COLUMN} is the row's value, * is anything; a list where rows have several
        image="images/{id}.jpg",
        levels={"main": "masterCategory", "sub": "subCategory"},  # ordered, coarse to fine: level -> column
        # fixes the classes: a run's taxonomy.json, or YAML as configs/clothing.yaml; empty: made from the training rows
        taxonomy="",
        # split -> a file of ids (relative to path), a folder (where source = folder) or a fraction of the rows; or the
        # name of a column whose values are train and validation; of a TFDS set its splits or slices, e.g. "test[:50%]".
        splits={"train": 0.8, "validation": 0.2},
        folds=0,  # above 0: in place of splits that are fractions, so many equal parts, of which
        fold=0,  # this one (from 0 on) is validation, and the others are training
        group_column="",  # rows with the same value stay in one split
        min_images_per_class=1,  # classes with fewer training images are rare
        rare_classes="drop",  # drop (their images are left out) | merge (into "Other" of the same parent)
        max_bad_fraction=0.01,  # more images that are missing or cannot be used stop the run
        drop_leaks=False,  # images of training that another split holds too are left out; else there is a warning
        resize="stretch",  # to the canvas: stretch | crop (the middle) | letterbox (white bars)
        canvas_size=0,  # what is decoded to, and crops are taken from; 0: 1.25 x image_size if augment crops
        # Decoded images: none (streamed) | host (all in memory) | device (all in the memory of each device) |
        # auto: device on accelerators and host elsewhere, where they take at most a quarter of what is free.
        cache="auto",
        # catalogues, extracted zips, the check of files, compiled programs; empty: ~/.cache/fashion_jax. Programs are
        # loaded from here, so it is taken from flags and config files only, and from no run's config.json.
        cache_dir="",
        catalogue=section(  # the generated one
            num_images=6000,
            seed=0,
            label_noise=0.0,  # share of the images that get a wrong label, for experiments
        ),
    )

    config.log_every_steps = 20  # how often the loss is fetched for the progress line
    return config.lock()
