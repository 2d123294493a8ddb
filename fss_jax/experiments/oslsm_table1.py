"""OSLSM's Table 1: itself and what it is compared with, every fold of PASCAL-5i, 1 and 5 shots."""

from collections.abc import Mapping
from typing import Any

from fss_jax.experiments.runner import BaseTraining, Experiment, Scoring, Training

PUBLISHED = {  # OSLSM Table 1, mIoU in percent of folds 0 to 3
    ("1-NN", 1): (25.3, 44.9, 41.7, 18.4),
    ("LogReg", 1): (26.9, 42.9, 37.1, 18.4),
    ("SVM", 1): None,  # tried, not in the table (OSLSM 6)
    ("Finetuning", 1): (24.9, 38.8, 36.5, 30.1),
    ("Siamese", 1): (28.1, 39.9, 31.8, 25.8),
    ("OSLSM", 1): (33.6, 55.3, 40.9, 33.5),
    ("Co-segmentation", 5): (25.1, 28.9, 27.7, 26.3),
    ("1-NN", 5): (34.5, 53.0, 46.9, 25.6),
    ("LogReg", 5): (35.9, 51.6, 44.5, 25.6),
    ("OSLSM", 5): (35.9, 58.1, 42.7, 39.1),
}
DILATED = {1: 37.0, 5: 37.43}  # OSLSM 7, fold 0: over a dilated FCN of stride 8
# OSLSM 4.3 stops at 60,000 updates; `fss experiments oslsm_table1 --checkpoint best` goes by validation.
STOPPING = {"checkpoint": "latest"}
CONFIGS = {  # at full size and small, of the methods that are not trained themselves
    "1-NN": ("nearest/vgg16", "nearest/squeezenet"),
    "LogReg": ("logistic/vgg16", "logistic/squeezenet"),
    "SVM": ("logistic/svm_vgg16", "logistic/svm_squeezenet"),
    "Finetuning": ("finetune/vgg16", "finetune/squeezenet"),
    "Co-segmentation": ("cosegment/vocabulary", "cosegment/small"),
}
TRAINED = {"OSLSM": "oslsm", "Siamese": "siamese"}
# Of SMALL, chosen on each fold's training classes by `fss study regularization`; see docs/results.
STRENGTHS = {"LogReg": {1: 1.0, 3: 1.0}, "SVM": {1: 0.001, 3: 0.001}}


def trainings(fold: int) -> tuple[Training, ...]:
    """At full size, from ImageNet's weights."""
    data = {"dataset": f"pascal_5i/fold{fold}", "init": "caffe:vgg16"}
    return (
        Training(f"oslsm_fold{fold}", "oslsm/release", data),
        BaseTraining(f"base_fold{fold}", "fcn/vgg16", data),
        Training(f"siamese_fold{fold}", "siamese/vgg16", data),
    )


def small_trainings(fold: int) -> tuple[Training, ...]:
    """SqueezeNet from ImageNet's weights, on the images of PASCAL that are at hand."""
    data = {"dataset": f"pascal_5i/fold{fold}_trainaug", "init": "torchvision:squeezenet1_0"}
    return (
        Training(f"oslsm_squeezenet_fold{fold}", "oslsm/squeezenet", data),
        BaseTraining(f"base_squeezenet_fold{fold}", "fcn/squeezenet", data),
        Training(f"siamese_squeezenet_fold{fold}", "siamese/squeezenet", data),
    )


def scoring(
    row: str, shots: int, fold: int, settings: Mapping[str, Any], small: bool = False
) -> Scoring:
    """A number of the table: what is scored, on which weights."""
    size, data = ("_squeezenet", "_trainaug") if small else ("", "")
    published = PUBLISHED.get((row, shots))
    dataset = f"pascal_5i/fold{fold}{data}"
    kind, config, changes = TRAINED.get(row, "base"), "", {}
    training = f"{kind}{size}_fold{fold}"
    if row in CONFIGS:
        config, changes = CONFIGS[row][small], {"dataset": dataset}
    if row == "Co-segmentation":  # has no weights
        training = ""
    elif small and row in CONFIGS:
        changes["init_skip"] = "score"  # the config's own is for ImageNet's file
    if row == "OSLSM" and not small:
        settings = {**STOPPING, **settings}
    if small and row in STRENGTHS:
        changes["model.strength"] = STRENGTHS[row][fold]
    return Scoring(
        row,
        f"fold {fold} {shots}-shot",
        training,
        published and published[fold],
        {"dataset": dataset, "protocol": "oslsm_release", "shots": shots, **settings},
        config,
        changes,
    )


EXPERIMENT = Experiment(
    title="OSLSM Table 1: PASCAL-5i",
    notes="Published: arXiv 1709.03410, Table 1, and for the dilated FCN its section 7. Its comparison "
    "methods were never released; what their configs choose for themselves is said there. OSLSM is "
    "scored where its training ends, as the paper stops; --checkpoint best goes by validation.",
    trainings=(
        *(part for fold in range(4) for part in trainings(fold)),
        Training("oslsm_dilated_fold0", "oslsm/dilated", {"init": "caffe:vgg16"}),
    ),
    scorings=(
        *(scoring(row, shots, fold, {}) for row, shots in PUBLISHED for fold in range(4)),
        *(
            Scoring(
                "OSLSM, dilated",
                f"fold 0 {shots}-shot",
                "oslsm_dilated_fold0",
                published,
                {
                    "dataset": "pascal_5i/fold0",
                    "protocol": "oslsm_release",
                    "shots": shots,
                    **STOPPING,
                },
            )
            for shots, published in DILATED.items()
        ),
    ),
)
SMALL = Experiment(
    title="OSLSM Table 1 on a subset of PASCAL-5i, SqueezeNet",
    notes="**Not PASCAL-5i** and not the published networks: 1,227 of its images, SqueezeNet 1.0 from "
    "ImageNet's weights seeing 224 pixels, minutes of training, the first 300 episodes. Published "
    "beside it: arXiv 1709.03410, Table 1.",
    trainings=tuple(part for fold in (1, 3) for part in small_trainings(fold)),
    scorings=tuple(
        scoring(row, shots, fold, {"episodes": 300, "trivial": False}, small=True)
        for fold in (1, 3)
        for row, shots in PUBLISHED
    ),
)
