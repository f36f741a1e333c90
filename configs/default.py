"""Lists all fields with their defaults. The other configs set only what differs; flags override both.

The defaults are the recipe: a ResNet-34 trunk shared by one head per label level, SGD with momentum and PyTorch's
weight decay, cosine annealing stepped per epoch.
"""

from ml_collections import ConfigDict


def section(**fields) -> ConfigDict:
    """Makes a section in which tables (of levels, of splits) stay plain dicts, which keep their order."""
    return ConfigDict(fields, type_safe=False, convert_dict=False, sort_keys=False)


def get_config() -> ConfigDict:
    config = section()
    # Everything random is a pure function of (seed, step) or (seed, epoch). It also draws which images go into which
    # split where data.splits has fractions, and into which of data.folds.
    config.seed = 0
    # Time for the whole command, report page included, such as 90s, 30m or 1h30m; empty: no limit. With a limit,
    # image_size, num_epochs and batch_size are chosen for the lowest expected error: image_size gives the aspect ratio
    # and is one of the candidates, batch_size is the upper limit. learning_rate_decay is adapted to num_epochs.
    config.time_limit = ""
    config.image_size = 64  # the network's input in pixels: an int, or (height, width)
    config.batch_size = 64  # global: images per step over all devices and processes
    config.num_epochs = 8  # passes over the training images
    _set_optimization(config)
    _set_step(config)
    config.model = _model()
    config.rare_classes = _rare_classes()
    config.checkpoint = _checkpoint()
    config.data = _data()
    # Minutes without a finished step after which a run counts as hanging: it writes the stacks of all threads to
    # stacks/ in its work directory and ends with status 75. While programs are compiled, at least 10 minutes are
    # allowed. 0: 20 times the measured time of a step, and at least 10 minutes.
    config.watchdog_minutes = 0.0
    config.log_every_steps = 20  # interval of the progress line's loss, and of TensorBoard's points within an epoch
    return config.lock()


def _set_optimization(config: ConfigDict) -> None:
    """Sets the optimizer and its schedule, the average of the weights and early stopping."""
    # sgd | adamw | muon (kernels but those of the last layers; AdamW for the rest), each with PyTorch's semantics
    config.optimizer = "sgd"
    config.learning_rate = 0.01  # the highest of the schedule; for adamw and muon about 0.001
    # Above 0: the batch size that learning_rate is meant for. It is multiplied by batch_size / learning_rate_batch_size
    # (linear scaling, Goyal et al. 2017). 0: learning_rate is used as it is.
    config.learning_rate_batch_size = 0
    config.momentum = 0.9  # of SGD and Muon; the first beta of AdamW
    config.adam_beta2 = 0.999  # the second beta of AdamW
    # sgd: L2 added to the gradient of every parameter, before momentum; adamw and muon: decoupled, such as 0.05
    config.weight_decay = 5e-4
    config.no_decay = False  # no weight decay for biases and BatchNorm
    config.schedule = "cosine"  # cosine (to 0 over num_epochs) | exponential | one_cycle | constant
    config.schedule_per = "epoch"  # how often the learning rate changes: epoch | step
    config.learning_rate_decay = 0.9  # factor per epoch, if schedule = exponential
    # Epochs in which the learning rate rises from near 0, before the schedule begins; whole if schedule_per = epoch.
    # For one_cycle: epochs up to its peak; 0: 30 % of all.
    config.warmup_epochs = 0.0
    # Regular expression, searched for in a parameter's path, such as trunk/layer4_0/conv1/kernel -> factor on its
    # learning rate; the first that is found decides. 0 freezes the parameter; a BatchNorm whose scale is frozen runs in
    # inference mode.
    config.learning_rate_factors = {}
    # Below 1: each layer of a trunk learns this many times as fast as the next layer, the last one as the heads.
    config.layer_decay = 1.0
    # Above 0: the exponential moving average of the weights with this decay, such as 0.999, is evaluated and predicts.
    config.average = 0.0
    # {"metric": "validation/LEVEL/accuracy", "patience": 3}: the run ends after so many epochs without a better value
    config.early_stopping = {}


def _set_step(config: ConfigDict) -> None:
    """Sets the loss of a step, its computation and the augmentation of its images."""
    config.label_smoothing = {}  # level -> share of each label that is spread over all classes; 0 if not named
    config.loss_weights = {}  # level -> weight in the total loss; 1 for levels not named
    config.batch_norm = "global"  # statistics over: global (batch) | group (of images) | local (device)
    config.batch_norm_group_size = 32  # images that share statistics, if batch_norm = group
    config.dtype = "float32"  # of the computation: float32 | bfloat16 | float64 (for tests; slow)
    config.clip_gradient_norm = 0.0  # limit on the norm over all parameters, before weight decay; 0: no limit
    config.deterministic = False  # bit-identical repeats also on GPUs, slower there; CPUs and TPUs always repeat
    # An update whose loss or gradient is not finite is skipped and counted. stop: the run stops at the first one.
    # skip: it stops after max_in_a_row of them. rollback: after max_in_a_row of them it returns to the last good
    # checkpoint and continues with a lower learning rate.
    config.on_nonfinite = "skip"
    config.nonfinite = section(
        max_in_a_row=10,
        learning_rate_factor=0.5,  # applied at each rollback
        max_rollbacks=3,  # the run stops after as many
    )
    config.accumulate = 1  # parts of a batch whose gradients are accumulated; BatchNorm sees one part at a time
    # Steps dispatched at once, never across a checkpoint or the end of an epoch; on a CPU this gains little.
    config.steps_per_dispatch = 1
    # Rematerialization: none (recomputes nothing) | dots (keeps outputs of convolutions and matrix products) |
    # blocks (keeps the inputs of each ResNet block).
    config.remat = "none"
    # Augmentation of training images: none | flip (the recipe's) | light (flip, crops of 50 to 100 % of the area) |
    # medium (light, slight affine maps, color jitter) | trivial (light, TrivialAugment) | strong (flip, crops of 35 to
    # 100 % of the area, RandAugment, erasing, mixup and CutMix).
    config.augment = "flip"
    config.progressive = section(  # progressive resizing: small images first, which takes less time
        epochs=0,  # how many of the first epochs are trained on smaller images; evaluation always has image_size
        image_size=32,  # their size: an int, or (height, width) with about the aspect ratio of image_size
    )
    config.eval_flip = False  # average the probabilities of an image and its mirror image


def _model() -> ConfigDict:
    """Returns the network, and where its initial weights are."""
    return section(
        # resnet10 | resnet18 | resnet34 | resnet50 | vgg16 | vgg16_bn | hybrid (resnet34 and vgg16 side by side)
        name="resnet34",
        fusion="concatenate",  # of the hybrid's trunks: concatenate | gated (Arevalo et al. 2017)
        # trunk -> where its initial weights are: the --workdir of a run (its best checkpoint), weights of torchvision
        # or timm (.safetensors, .pth, the folder of a timm repository), or hf://OWNER/NAME[@REVISION]. Heads are new,
        # but those of the kind classifier take over the hidden layers in a file of VGG's weights.
        init_from={},
        # --workdir of a run whose heads this run begins with: their hidden layers, and of the last layers the weights
        # of the classes that have the same path. Other classes may differ.
        init_heads_from="",
        # trunk -> {"mean": [R, G, B], "std": [R, G, B]} of its pixels, from 0 to 1. Trunks not named have what their
        # weights of init_from were trained with, or the statistics of ImageNet.
        normalization={},
        frozen=[],  # trunks of init_from that are not trained, BatchNorm included: factor 0 in learning_rate_factors
        # level -> head: main | sub (the recipe's two) | classifier (torchvision's VGG-16) | linear.
        # Empty: main for the first level, sub for all others. A level left out of a non-empty
        # table is not trained; its probabilities are the sums of its children's.
        heads={},
        # Adds W p to a level's logits, where p are the probabilities of the level above; in training p is the true
        # class, which training metrics therefore know (Condition-CNN, Kolisnik et al. 2021). Needs a head per level.
        condition_on_parent=False,
    )


def _rare_classes() -> ConfigDict:
    """Returns what is done for classes with few images."""
    return section(  # tables: level -> choice; levels not named are unaffected
        weights={},  # class weights in the loss: inverse (1 / images) | effective (Cui et al. 2019)
        beta=0.999,  # for effective weights: about 1 / (1 - beta) images of a class count
        loss={},  # balanced_softmax (Ren et al. 2020) | logit_adjustment (Menon et al. 2020, with tau)
        tau=1.0,  # strength of logit_adjustment; 1 equals balanced_softmax
        post_hoc={},  # logit adjustment at prediction instead of in training: level -> tau
        draw={},  # resampling of an epoch's images with replacement: one level -> class_balanced | square_root
    )


def _checkpoint() -> ConfigDict:
    """Returns which checkpoints are saved and kept."""
    return section(
        every_steps=500,  # in addition to the end of every epoch
        keep=2,  # latest checkpoints kept; the best is kept too
        best="",  # metric, e.g. validation/sub/accuracy; empty: macro_f1 of the finest level
    )


def _data() -> ConfigDict:
    """Returns where the data are, which of them are used, and how images are decoded and cached."""
    return section(
        **_source(),
        min_images_per_class=1,  # classes with fewer training images are rare
        rare_classes="drop",  # drop (leave their images out) | merge (into "Other" of the same parent)
        max_bad_fraction=0.01,  # the run stops if a larger share of the rows has no usable image
        drop_leaks=False,  # leave out training images that another split has too; otherwise only warn
        resize="stretch",  # how images fit the canvas: stretch | crop (the centre) | letterbox (white bars)
        canvas_size=0,  # size of decoded images, from which crops are taken; 0: 1.25 x image_size if augment crops
        # Decoded images: none (streamed) | host (all in memory) | device (all in the memory of each device) |
        # auto (device on accelerators, host elsewhere, if they take at most a quarter of the free memory).
        cache="auto",
        # folder of catalogues, extracted zips, file checks and compiled programs; empty: fashion_jax in $XDG_CACHE_HOME
        # or ~/.cache. Programs are loaded from here, so it is taken from flags and config files, and never from a run's
        # config.json.
        cache_dir="",
        catalogue=section(  # the generated catalogue
            num_images=6000,  # of all splits together
            seed=0,  # by which it is drawn
            label_noise=0.0,  # share of images with a wrong label, for experiments
        ),
    )


def _source() -> dict:
    """Returns where the images, their labels and their splits are."""
    return dict(
        # catalogue (generated, no download) | csv (a table and a folder) | folder (MAIN/SUB/*.jpg, or CLASS/*.jpg with
        # one level or a taxonomy; below train/ and val/, or similar names, if these exist) | tfds (TensorFlow Datasets)
        source="catalogue",
        path="",  # folder or zip of the data; for tfds the dataset's directory, or TFDS's data_dir (empty: its default)
        tfds="",  # TFDS dataset, e.g. fashion_mnist or NAME/CONFIG:VERSION, unless path is its directory
        csv="",  # the table, relative to path: CSV or .parquet; empty: styles.csv
        # a row's image, relative to path: {COLUMN} is the row's value, {COLUMN[:3]} its first three characters, *
        # matches anything; a list for several images
        image="images/{id}.jpg",
        levels={"main": "masterCategory", "sub": "subCategory"},  # ordered, coarse to fine: level -> column
        # file that fixes the classes: a run's taxonomy.json, or YAML such as configs/clothing.yaml; empty: the classes
        # of the training rows
        taxonomy="",
        # split -> a file of ids (relative to path), a folder (if source = folder), a split or slice of a TFDS dataset
        # (e.g. "test[:50%]"), or a fraction of the rows; or the name of a column whose values are called train,
        # validation (val, dev, ...) and test; or {"column": NAME, "validation": VALUE, ...} for values of other names
        splits={"train": 0.8, "validation": 0.2},
        folds=0,  # above 0: cross-validation with this many equal parts, instead of splits by fractions
        fold=0,  # the part (from 0) that is validation; the others are training
        group_column="",  # rows with the same value stay in one split
    )
