"""FSS-1000's Table 4, row "Ours*": trained on FSS-1000, tested on PASCAL-5i without fine-tuning.

SMALL is a network of fss_table2's SMALL, which saw glyphs only, on the PASCAL subset.
"""

from fss_jax.experiments import fss_table2
from fss_jax.experiments.runner import Experiment, Scoring, Training

PUBLISHED = (50.6, 70.3, 58.4, 55.1)  # FSS-1000 Table 4, 5-shot, mIoU in percent of each fold

EXPERIMENT = Experiment(
    title="FSS-1000 Table 4: PASCAL-5i without fine-tuning",
    notes="Published: arXiv 1907.12347, Table 4. Its classes are not disjoint from PASCAL's: FSS-1000 "
    "has bus, motorbike, potted_plant and many breeds of dogs. Scored as OSLSM's release does.",
    trainings=(Training("fss1000_bce", "relation/paper", {"loss": "mean"}),),
    scorings=tuple(
        Scoring(
            "FSS-1000",
            f"PASCAL-5i fold {fold} 5-shot",
            "fss1000_bce",
            published,
            {
                "dataset": f"pascal_5i/fold{fold}",
                "protocol": "oslsm_release",
                "shots": 5,
                "canvas": 500,
            },
        )
        for fold, published in enumerate(PUBLISHED)
    ),
)

FROM_GLYPHS = fss_table2.small_training("paper")
SMALL = Experiment(
    title="PASCAL-5i subset without fine-tuning, from glyphs",
    notes="**Not PASCAL-5i**: a subset of its images, the held-out classes that it has enough images "
    "of. The relation network in the paper's form, at 1/8 of its width, was trained on fss_glyphs/full.",
    trainings=(FROM_GLYPHS,),
    scorings=tuple(
        Scoring(
            "glyphs",
            f"subset fold {fold} 5-shot",
            FROM_GLYPHS.name,
            None,
            {
                "dataset": f"pascal_5i/fold{fold}",
                "protocol": "oslsm_release",
                "shots": 5,
                "canvas": 500,
            },
        )
        for fold in (1, 3)
    ),
)
