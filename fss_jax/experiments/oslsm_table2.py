"""OSLSM's Table 2: seconds an episode of itself and what it is compared with."""

import dataclasses

from fss_jax.experiments.oslsm_table1 import scoring, small_trainings, trainings
from fss_jax.experiments.runner import Experiment
from fss_jax.experiments.timing import TimingTable

PUBLISHED = {  # seconds on a Titan X, OSLSM Table 2: 1-shot, 5-shot
    "1-NN": (1.10, 4.55),
    "LogReg": (0.66, 3.50),
    "Finetuning": (5.56, None),
    "Siamese": (5.65, None),
    "OSLSM": (0.19, 0.21),
}


def _timed(fold: int, small: bool) -> TimingTable:
    rows = [
        (scoring(row, shots, fold, {}, small), seconds)
        for row, both in PUBLISHED.items()
        for shots, seconds in zip((1, 5), both, strict=True)
        if seconds is not None
    ]
    return TimingTable(
        tuple(
            dataclasses.replace(one, column=f"{one.settings['shots']}-shot", published=seconds)
            for one, seconds in rows
        ),
        reference="OSLSM",
        rounds=5 if small else 20,
    )


EXPERIMENT = Experiment(
    title="OSLSM Table 2: inference time",
    notes="Published: arXiv 1709.03410, Table 2.",
    trainings=trainings(0),
    scorings=(),
    parts=(_timed(0, small=False),),
)
SMALL = Experiment(
    title="OSLSM Table 2 with SqueezeNet",
    notes="Images of 224 pixels (OSLSM's support: 160), the networks of oslsm_table1 --small. "
    "Published: arXiv 1709.03410, Table 2, VGG-16 at 500 pixels.",
    trainings=small_trainings(1),
    scorings=(),
    parts=(_timed(1, small=True),),
)
