"""Every setting there is, with the values of a plain run; experiments override a few of them."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    c.seed = 0

    # Data. A record is `shots` supports and `queries` queries of one class.
    c.dataset = "fss_glyphs/tiny"
    c.data_dir = "data"
    c.canvas = 64  # pixels; side of the bank's canvas, larger images are shrunk to it
    c.shots = 1
    c.queries = 1
    c.rule = "class_uniform"  # see episodes.EpisodeSampler
    c.train_split = "train"
    c.support_size = 64  # pixels, warped
    c.query_size = 64  # pixels, warped; 0 = the image's true size on the canvas
    c.void = "background"
    c.min_lattice_hits = 0
    c.drop_rare_classes = False  # leave out classes with too few images for an episode, and say so
    c.bank = "auto"  # 'device', 'loader' (decodes while training), or 'auto': device if it fits

    # Of a frozen backbone, computed once an image: '' (images), or the type they are kept in, 'float16'
    # or 'bfloat16'. Further entries of each image to train on: mirrored, and its middle enlarged.
    c.features = ""
    c.feature_flips = False
    c.feature_zooms = ()

    # Method: its name in fss_jax.methods and its fields.
    c.method = "oslsm"
    c.model = ConfigDict()
    c.dtype = "float32"  # compute dtype: float32 or bfloat16
    # Of float32 products: 'float32', 'tensorfloat32' (what GPUs would take by themselves), 'bfloat16'.
    c.matmul_precision = "float32"
    c.init = (
        ""  # weights to start from: 'torchvision:vgg16:FILE', 'workdir:FOLDER'; see fss_jax.weights
    )
    c.origin = ""  # of those weights, written by the program: JSON
    c.init_skip = ""  # leaves to leave fresh, patterns with commas between

    # Optimization.
    c.steps = 1000  # updates x accumulate
    c.batch = 32  # episodes per step over all devices
    c.accumulate = 1  # steps averaged into one update
    c.gradient_dtype = "float32"  # as devices exchange them; 'bfloat16' halves what travels
    c.moments = "float32"  # dtype of the optimizer's first moments: float32 or bfloat16
    c.shard_optimizer = False  # each device keeps its part of the optimizer's state
    c.remat = False  # the gradient computes the backbone's blocks again, to keep less in memory
    c.loss = "mean"  # see losses.segmentation_loss
    c.foreground_weight = 1.0
    c.optimizer = "adam"  # sgd, adam or muon; see training.optimizers
    c.momentum = 0.99  # of sgd and muon
    c.lr = 3e-3
    c.schedule = "constant"
    c.warmup = 0
    c.halve_every = 1
    c.tenth_at = ()  # updates
    c.weight_decay = 0.0
    c.clip = 0.0
    c.clip_groups = ()
    c.lr_multipliers = ()  # (pattern of the leaf's name, factor), first match counts
    c.steps_per_dispatch = 8  # steps inside one compiled call

    # Validation, checkpoints, logging, in steps.
    c.val_split = "val"
    c.val_protocol = "uniform"
    c.val_episodes = 200
    c.eval_every = 200  # and save
    c.log_every = 40

    # Evaluation.
    c.test_split = "test"
    c.protocol = "uniform"
    c.eval_batch = 16  # episodes per device
    return c
