"""FSS-1000's Figures 6 and 7: what fsPASCAL, fsCOCO and FSS-1000 teach, by super-category, pictured."""

from fss_jax.experiments.categories import SuperCategories
from fss_jax.experiments.runner import Experiment, Scoring, Training
from fss_jax.experiments.side_by_side import SideBySide

OTHER = {  # no validation classes: the best checkpoint is chosen on training classes
    "loss": "mean",
    "val_split": "train",
    "val_protocol": "fss_random",
    "protocol": "fss_random",
}
TRAININGS = {
    "fsPASCAL": Training(
        "fs_pascal_bce", "relation/paper", {**OTHER, "dataset": "fs_pascal/fold0"}
    ),
    "fsCOCO": Training("fs_coco_bce", "relation/paper", {**OTHER, "dataset": "fs_coco/fold0"}),
    "FSS-1000": Training("fss1000_bce", "relation/paper", {"loss": "mean"}),
}
TEST = {"dataset": "fss_1000/standard", "protocol": "fss1000_paper", "shots": 5}
SCORINGS = tuple(
    Scoring(f"trained on {name}", "FSS-1000 5-shot", training.name, None, TEST)
    for name, training in TRAININGS.items()
)

EXPERIMENT = Experiment(
    title="FSS-1000 Figures 6 and 7: three training sets, by super-category",
    notes="Published as a bar chart and as pictures (arXiv 1907.12347, Figures 6 and 7). What its "
    "networks started from is not known here; ours start from scratch, the best start of its Table 5, "
    "with the same settings and as many episodes.",
    trainings=tuple(TRAININGS.values()),
    scorings=SCORINGS,
    parts=(
        SuperCategories(
            SCORINGS,
            overlap=True,
            reading="Overlap: the share of a super-category's test classes whose objects are among the "
            "training classes, by our own map of names (data_builders/fss_1000/README.md). FSS-1000's "
            "own training classes are none of the test's.",
        ),
        SideBySide(SCORINGS),
    ),
)
