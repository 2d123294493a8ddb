"""FSS-1000's Table 2: three backbones, binary cross entropy against squared error, 5 shots.

SMALL is VGG-16 at 1/8 of its width on the glyphs: both forms, both losses, 1 and 5 shots.
"""

import itertools

from fss_jax.experiments.runner import Experiment, Scoring, Training

PUBLISHED = {  # FSS-1000 Table 2, mIoU in percent
    ("VGG-16", "BCE"): 80.12,
    ("VGG-16", "MSE"): 79.66,
    ("ResNet-101", "BCE"): 79.43,
    ("ResNet-101", "MSE"): 79.12,
    ("InceptionV3", "BCE"): 79.02,
    ("InceptionV3", "MSE"): 79.22,
}
CONFIGS = {
    "VGG-16": ("relation/paper", "fss1000"),
    "ResNet-101": ("relation/resnet101", "fss1000_resnet101"),
    "InceptionV3": ("relation/inception", "fss1000_inception"),
}
LOSSES = {"BCE": "mean", "MSE": "mse"}


def _name(backbone: str, loss: str) -> str:
    return f"{CONFIGS[backbone][1]}_{loss.lower()}"


EXPERIMENT = Experiment(
    title="FSS-1000 Table 2: backbones and losses",
    notes="Published: arXiv 1907.12347, Table 2. VGG-16 in the paper's form, the others in the form "
    "of the co-author's repository; InceptionV3's decoder was never published.",
    trainings=tuple(
        Training(_name(backbone, loss), CONFIGS[backbone][0], {"loss": LOSSES[loss]})
        for backbone, loss in PUBLISHED
    ),
    scorings=tuple(
        Scoring(
            f"{backbone} {loss}",
            "FSS-1000 5-shot",
            _name(backbone, loss),
            published,
            {"protocol": "fss1000_paper", "shots": 5},
        )
        for (backbone, loss), published in PUBLISHED.items()
    ),
)

# Two cores train two episodes a second seen at 224 pixels, some twenty seen at 64: most episodes are
# seen small, the last ones at FSS-1000's size.
SEEN_AT_64 = {
    "dataset": "fss_glyphs/full",
    "canvas": 224,
    "drop_rare_classes": True,  # for the other datasets that it is scored on
    "batch": 2,
    "steps": 4000,
    "warmup": 200,
    "lr": 2e-3,
    "eval_every": 1000,
    "log_every": 100,
    "val_protocol": "fss_random",
    "val_episodes": 100,
}
SEEN_AT_224 = SEEN_AT_64 | {
    "support_size": 224,
    "query_size": 224,
    "batch": 1,
    "steps": 500,
    "warmup": 20,
    "lr": 1e-3,
    "eval_every": 250,
    "log_every": 25,
    "val_episodes": 50,
}
FORMS = {"paper": "paper's form", "release": "released form"}
TRAINED = tuple(itertools.product(FORMS, LOSSES, (5, 1)))


def small_training(form: str, loss: str = "BCE", shots: int = 5, seen: int = 64) -> Training:
    """A training at 1/8 of the width; the other experiments' small ones go on from them.

    Args:
      form: of FORMS.
      loss: of LOSSES.
      shots: of each episode.
      seen: pixels; 224 goes on from the training at 64.
    """
    name = f"relation_{form}_{loss.lower()}_{shots}shot"
    model = {"model.form": form, "loss": LOSSES[loss], "shots": shots}
    if seen == 64:
        return Training(name, "relation/small", SEEN_AT_64 | model)
    return Training(f"{name}_224", "relation/small", SEEN_AT_224 | model, start=name)


SMALL = Experiment(
    title="The relation network on fss_glyphs/full, 1/8 of its width",
    notes="**Not FSS-1000**: rendered glyphs, 240 test classes, scored at their 224 pixels. Each "
    "network was trained from scratch on 8,000 episodes seen at 64 pixels, then on 500 at 224; object "
    "pixels weigh 3. The released form sums over shots: a model serves the number it was trained with.",
    trainings=tuple(small_training(*each, seen) for each in TRAINED for seen in (64, 224)),
    scorings=tuple(
        Scoring(
            f"{FORMS[form]}, {loss}, trained with {trained} shot{'s'[: trained - 1]}, {seen} pixels",
            f"{shots}-shot",
            small_training(form, loss, trained, seen).name,
            None,
            {"protocol": "fss1000_paper", "shots": shots},
        )
        for form, loss, trained in TRAINED
        for seen in (64, 224)
        for shots in ((1, 5) if trained == 5 else (1,))
    ),
)
