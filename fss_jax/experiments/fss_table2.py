"""FSS-1000's Table 2: three backbones, binary cross entropy against squared error, 5 shots."""

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
