"""FSS-1000's Figure 8: 1, 3, 5 and 7 shots by super-category, a network for each number of shots."""

from fss_jax.experiments.categories import SuperCategories
from fss_jax.experiments.fss_table3 import PUBLISHED
from fss_jax.experiments.runner import Experiment, Scoring, Training

SHOTS = (1, 3, 5, 7)
IMAGES = 10  # of each class: seven supports leave three queries


def _training(shots: int) -> Training:
    if shots == 5:
        return Training("fss1000_bce", "relation/paper", {"loss": "mean"})
    changes = {"loss": "mean", "shots": shots}
    if shots > 5:
        changes["queries"] = IMAGES - shots
    return Training(f"fss1000_bce_{shots}shot", "relation/paper", changes)


def _scoring(shots: int) -> Scoring:
    published = dict(zip((1, 5), PUBLISHED["FSS-1000"], strict=True)).get(shots)
    settings = {"protocol": "fss1000_paper", "shots": shots}
    name = f"{shots} shot{'s'[: shots - 1]}"
    return Scoring(name, "FSS-1000", _training(shots).name, published, settings)


EXPERIMENT = Experiment(
    title="FSS-1000 Figure 8: shots, by super-category",
    notes="Published as a bar chart (arXiv 1907.12347, Figure 8); the numbers for 1 and 5 shots are "
    "those of its Table 3. A network is trained for each number of shots. Up to five shots share their "
    "five queries of a class; seven leave three.",
    trainings=tuple(map(_training, SHOTS)),
    scorings=tuple(map(_scoring, SHOTS)),
    parts=(
        SuperCategories(
            tuple(map(_scoring, SHOTS)),
            reading="A class counts in each of its super-categories, by our own map "
            "(data_builders/fss_1000/README.md).",
        ),
    ),
)
