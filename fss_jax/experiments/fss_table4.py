"""FSS-1000's Table 4: methods on PASCAL-5i, 5 shots. "Ours*", trained on FSS-1000, is fss_pascal.

SMALL is every method of both papers on the PASCAL subset's fold 1, on SqueezeNet; it shares OSLSM's and
its comparison methods' trainings with oslsm_table1.
"""

from fss_jax.experiments import oslsm_table1
from fss_jax.experiments.runner import Experiment, Scoring, Training

FOLDS = range(4)
PUBLISHED = {  # FSS-1000 Table 4, mIoU in percent of each fold
    "OSLSM": (34.2, 57.9, 43.2, 37.8),
    "Guided networks": (33.1, 58.9, 44.3, 39.9),
    "FSS-1000": (37.4, 60.9, 46.6, 42.2),
    "PANet": (51.8, 64.6, 59.8, 46.5),
    "CANet": (55.5, 67.8, 51.9, 53.2),
}
RELATION = {
    "canvas": 500,
    "rule": "shuffled_items",
    "min_lattice_hits": 3,
    "val_protocol": "oslsm_release",
    "protocol": "oslsm_release",
    "loss": "mean",
    "queries": 1,
}
METHODS = {  # row: config, its changes, which PASCAL-5i it trains on
    "Guided networks": ("guided/vgg16", {"init": "caffe:vgg16"}, "_trainaug"),
    "FSS-1000": ("relation/paper", RELATION, "_trainaug"),
    "PANet": ("panet/vgg16", {"init": "torchvision:vgg16", "shots": 5}, "_trainaug"),
    "CANet": ("canet/resnet50", {"init": "torchvision:resnet50", "shots": 5}, "_trainaug"),
}


def _name(row: str, fold: int) -> str:
    if row == "OSLSM":
        return f"oslsm_fold{fold}"
    return f"pascal_{row.lower().replace(' ', '_').replace('-', '')}_fold{fold}"


EXPERIMENT = Experiment(
    title="FSS-1000 Table 4: methods on PASCAL-5i",
    notes="Published: arXiv 1907.12347, Table 4, which took PANet's and CANet's numbers from their "
    "papers, under their protocols. Here all are scored as OSLSM's release does; "
    "fss evaluate --protocol all gives the others.",
    trainings=(
        *(oslsm_table1.trainings(fold)[0] for fold in FOLDS),
        *(
            Training(
                _name(row, fold), config, {**changes, "dataset": f"pascal_5i/fold{fold}{train}"}
            )
            for row, (config, changes, train) in METHODS.items()
            for fold in FOLDS
        ),
    ),
    scorings=tuple(
        Scoring(
            row,
            f"PASCAL-5i fold {fold} 5-shot",
            _name(row, fold),
            published,
            {
                "dataset": f"pascal_5i/fold{fold}",
                "protocol": "oslsm_release",
                "shots": 5,
                **(oslsm_table1.STOPPING if row == "OSLSM" else {}),
            },
        )
        for row, numbers in PUBLISHED.items()
        for fold, published in enumerate(numbers)
    ),
)

# As many episodes as pascal_squeezenet's 160 steps of 16.
SCRATCH = {
    "dataset": "pascal_5i/fold1_trainaug",
    "canvas": 500,
    "support_size": 96,
    "query_size": 96,
    "shots": 1,
    "queries": 1,
    "rule": "shuffled_items",
    "min_lattice_hits": 3,
    "drop_rare_classes": True,
    "batch": 4,
    "steps": 640,
    "warmup": 64,
    "eval_every": 320,
    "log_every": 40,
    "val_episodes": 50,
    "val_protocol": "oslsm_release",
    "protocol": "oslsm_release",
    "model.form": "paper",
    "model.batch_norm": "running",
    "model.momentum": 0.9,
}
PRETRAINED = {"dataset": "pascal_5i/fold1_trainaug", "init": "torchvision:squeezenet1_0"}
SMALL_TRAININGS = {
    "FSS-1000, paper's form, from scratch": Training(
        "pascal_subset_relation", "relation/small", SCRATCH
    ),
    "Guided networks": Training("guided_squeezenet", "guided/squeezenet", PRETRAINED),
    "PANet": Training("panet_squeezenet", "panet/squeezenet", PRETRAINED),
    "CANet": Training("canet_squeezenet", "canet/squeezenet", PRETRAINED),
}
COMPARED = [  # of OSLSM's Table 1
    *((row, shots) for row in ("OSLSM", "1-NN", "LogReg", "SVM") for shots in (1, 5)),
    *((row, 1) for row in ("Finetuning", "Siamese")),
    ("Co-segmentation", 5),
]
EPISODES = {"episodes": 300, "trivial": False}

SMALL = Experiment(
    title="Every method of both papers on the PASCAL-5i subset, fold 1",
    notes="**Not PASCAL-5i**: a subset of its images, the held-out classes that it has enough images "
    "of, the first 300 episodes of oslsm_release. Networks are SqueezeNet 1.0 from ImageNet's weights, "
    "seeing 224 pixels (guided networks 160), trained on 2,560 1-shot episodes; FSS-1000's, whose "
    "encoder reads a mask and has no weights at hand, sees as many at 96 pixels. OSLSM and what it is "
    "compared with are those of oslsm_table1 --small (Siamese: 1,280 episodes at 160 pixels).",
    trainings=(*oslsm_table1.small_trainings(1), *SMALL_TRAININGS.values()),
    scorings=(
        *(
            Scoring(
                row,
                f"fold 1 {shots}-shot",
                training.name,
                None,
                {
                    "dataset": "pascal_5i/fold1_trainaug",
                    "protocol": "oslsm_release",
                    "shots": shots,
                    **EPISODES,
                },
            )
            for row, training in SMALL_TRAININGS.items()
            for shots in (1, 5)
        ),
        *(oslsm_table1.scoring(row, shots, 1, EPISODES, small=True) for row, shots in COMPARED),
    ),
)
