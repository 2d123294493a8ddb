"""FSS-1000's Table 2: three backbones, binary cross entropy against squared error, 5 shots.

SMALL is VGG-16 at 1/8 of its width on the glyphs at 224 pixels: both forms, both losses, 1 and 5 shots.
"""

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
    "VGG-16": ("fss1000_paper", "fss1000"),
    "ResNet-101": ("fss1000_resnet101", "fss1000_resnet101"),
    "InceptionV3": ("fss1000_inception", "fss1000_inception"),
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

# At 224 pixels two cores train three episodes a second, at 64 some twenty: most are seen small.
GLYPHS = {"dataset": "fss_glyphs/full", "canvas": 224, "val_protocol": "fss_random"}
SHRUNK = {
    "drop_rare_classes": True,  # for the other datasets that it is scored on
    "steps": 1000,
    "lr": 2e-3,
    "eval_every": 250,
    "log_every": 25,
    "val_episodes": 40,
}
FULL = {
    "support_size": 224,
    "query_size": 224,
    "batch": 2,
    "steps": 60,
    "warmup": 6,
    "lr": 3e-4,
    "eval_every": 60,
    "log_every": 10,
    "val_episodes": 8,
    "eval_batch": 4,
}
FORMS = {"paper": "paper's form", "release": "released form"}
TRAINED = tuple((form, loss, 5) for form in FORMS for loss in LOSSES) + tuple(
    (form, "BCE", 1) for form in FORMS
)


def _small(form: str, loss: str, shots: int) -> str:
    return f"relation_{form}_{loss.lower()}_{shots}shot_224"


SEEN_SMALL = {  # by form; the other experiments' small ones go on from them
    form: Training(
        f"relation_{form}_64", "relation_small", {**GLYPHS, **SHRUNK, "model.form": form}
    )
    for form in FORMS
}
SMALL = Experiment(
    title="The relation network on fss_glyphs/full at 224 pixels, 1/8 of its width",
    notes="Trained on 8,000 5-shot episodes seen at 64 pixels (BCE), then with the loss and the shots "
    "of its row on 120 episodes at 224, all from scratch, object pixels weighed by 3. The released form "
    "sums over shots.",
    trainings=tuple(SEEN_SMALL.values())
    + tuple(
        Training(
            _small(form, loss, shots),
            "relation_small",
            {**GLYPHS, **FULL, "model.form": form, "loss": LOSSES[loss], "shots": shots},
            start=SEEN_SMALL[form].name,
        )
        for form, loss, shots in TRAINED
    ),
    scorings=tuple(
        Scoring(
            f"{FORMS[form]}, {loss}, trained with {trained} shot{'s'[: trained - 1]}",
            f"{shots}-shot",
            _small(form, loss, trained),
            None,
            {"protocol": "fss1000_paper", "shots": shots},
        )
        for form, loss, trained in TRAINED
        for shots in ((1, 5) if trained == 5 else (1,))
    ),
)
