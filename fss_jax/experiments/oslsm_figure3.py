"""OSLSM's Figure 3: what the initial weights do, with AlexNet on fold 0, while it trains."""

import dataclasses

from fss_jax.experiments import oslsm_table1
from fss_jax.experiments.curves import LearningCurves
from fss_jax.experiments.runner import BaseTraining, Experiment, Scoring, Training

FOLD0 = {"dataset": "pascal_5i/fold0"}
IMAGENET_1000 = {"init": "caffe:alexnet"}
# ImageNet without the 229 classes that are PASCAL's: data_builders/pascal_5i/imagenet_classes.csv.
IMAGENET_771 = {"init": "caffe:alexnet:weights/alexnet771.caffemodel"}
ONE_SHOT = {"protocol": "oslsm_release", "shots": 1, "trivial": False}


def _logistic(classes: int) -> Scoring:
    """Logistic regression on the base network of those initial weights."""
    base = "base_alexnet" if classes == 1000 else f"base_alexnet_{classes}"
    settings = FOLD0 | ONE_SHOT
    row = f"LogReg, ImageNet-{classes}"
    return Scoring(row, "fold 0 1-shot", base, None, settings, "logistic/alexnet", FOLD0)


EXPERIMENT = Experiment(
    title="OSLSM Figure 3: initial weights, AlexNet, PASCAL-5i fold 0",
    notes="Published as curves only (arXiv 1709.03410, Figure 3): both initial weights end at similar "
    "scores, above the Siamese network's 28.1. ImageNet-771: weights/alexnet771.caffemodel, the "
    "PASCAL-removed model of Huh et al. (minyoungg/wmigftl) or one of your own.",
    trainings=(
        BaseTraining("base_alexnet", "fcn/alexnet", FOLD0 | IMAGENET_1000),
        BaseTraining("base_alexnet_771", "fcn/alexnet", FOLD0 | IMAGENET_771),
    ),
    scorings=(),
    parts=(
        LearningCurves(
            lines=(
                (
                    "OSLSM, ImageNet-1000",
                    Training("oslsm_alexnet_1000", "oslsm/alexnet", FOLD0 | IMAGENET_1000),
                ),
                (
                    "OSLSM, ImageNet-771",
                    Training(
                        "oslsm_alexnet_771",
                        "oslsm/alexnet",
                        FOLD0 | IMAGENET_771 | {"model.num_outputs": 771},
                    ),
                ),
                ("OSLSM, none", Training("oslsm_alexnet_none", "oslsm/alexnet", FOLD0)),
            ),
            marks=(5_000, 10_000, 20_000, 30_000, 45_000, 60_000),
            settings=FOLD0 | ONE_SHOT,
            levels=(_logistic(1000), _logistic(771)),
        ),
    ),
)

SQUEEZENET = {  # a third of pascal_squeezenet's work
    "dataset": "pascal_5i/fold1_trainaug",
    "support_size": 128,
    "query_size": 160,
    "batch": 8,
    "schedule": "constant",
    "warmup": 0,
}
EPISODES = {"episodes": 300, "trivial": False}
SUBSET = {"dataset": "pascal_5i/fold1_trainaug"} | ONE_SHOT | EPISODES
SMALL = Experiment(
    title="OSLSM Figure 3 on a subset of PASCAL-5i: initial weights, SqueezeNet",
    notes="Not PASCAL-5i: 1,227 of its images, fold 1, 160 pixels. SqueezeNet 1.0 for AlexNet, from all "
    "1000 classes of ImageNet, of which some are PASCAL's.",
    trainings=tuple(t for t in oslsm_table1.small_trainings(1) if isinstance(t, BaseTraining)),
    scorings=(),
    parts=(
        LearningCurves(
            lines=(
                (
                    "OSLSM, ImageNet-1000",
                    Training(
                        "squeezenet_1000",
                        "oslsm/squeezenet",
                        SQUEEZENET | {"init": "torchvision:squeezenet1_0"},
                    ),
                ),
                ("OSLSM, none", Training("squeezenet_none", "oslsm/squeezenet", SQUEEZENET)),
            ),
            marks=(40, 80, 160),
            settings=SUBSET,
            levels=(
                dataclasses.replace(
                    oslsm_table1.scoring("LogReg", 1, 1, EPISODES, small=True),
                    row="LogReg, ImageNet-1000",
                ),
            ),
        ),
    ),
)
