"""Chooses the strength of logistic regression or the SVM on a fold's training classes.

  fss study regularization --config logistic/squeezenet --out runs/strength \
    --config.dataset=pascal_5i/fold1_trainaug --init workdir:runs/base_squeezenet

Scores every strength on the episodes that a training would validate on (config.val_split,
val_protocol, val_episodes): classes that the base network knows, in images that it has not seen. Test
classes are not looked at. Writes OUT/results/strength.json and .md; the one chosen is then put
into the config by hand.
"""

import argparse
from pathlib import Path

from ml_collections import ConfigDict
from tqdm import tqdm

from fss_jax import methods, weights
from fss_jax.data.records import records_sha256
from fss_jax.reports import page as pages
from fss_jax.reports.page import Page, Table, interval, percent
from fss_jax.reports.provenance import provenance
from fss_jax.runtime import arguments, config_flags, messages
from fss_jax.runtime.checkpoints import TrainState
from fss_jax.runtime.devices import local_devices, replicate
from fss_jax.training import loop

STRENGTHS = "0.0001,0.001,0.01,0.1,1.0,10.0"


def choose(config: ConfigDict, strengths: list[float]) -> dict:
    """Validation mIoU of every strength, and the best, the smallest of equals.

    Raises:
      ValueError: a method without a strength, no weights, or a strength that is not positive.
    """
    field = methods.get(config.method).tuned
    if not field:
        able = [name for name in methods.names() if methods.get(name).tuned]
        raise ValueError(
            f"config.method {config.method!r} has no strength to choose; take one of {', '.join(able)}"
        )
    if not strengths or min(strengths) <= 0:
        raise ValueError(f"strengths {strengths}: expected numbers above 0")
    devices = local_devices()
    _, variables = weights.ready(config)
    state = TrainState(0, variables.pop("params"), variables, ())
    rows = []
    for strength in tqdm(sorted(strengths), desc="strength"):
        config.model[field] = strength
        validation = loop.Validation(methods.build_from(config), config, devices)
        scores = validation.score(replicate(state, devices))
        rows.append(
            {"strength": strength, "miou": scores.miou, "miou_ci95": list(scores.miou_ci95)}
        )
    return {
        "method": config.method,
        "loss": config.model.get("loss", "logistic"),
        "dataset": config.dataset,
        "split": config.val_split,
        "protocol": config.val_protocol,
        "shots": config.shots,
        "init": config.init,
        "episodes": len(validation.records),
        "records_sha256": records_sha256(validation.records),
        "strengths": rows,
        "chosen": max(rows, key=lambda row: row["miou"])["strength"],
        **provenance(),
    }


def page(result: dict) -> Page:
    """The result, to read."""
    rows = [
        (f"{row['strength']:g}", percent(row["miou"]), interval(row["miou_ci95"]))
        for row in result["strengths"]
    ]
    return Page(
        f"Strength of {result['loss']} on the training classes of {result['dataset']}",
        [
            Table(("strength", "mIoU %", "95% interval"), rows),
            f"Chosen: {result['chosen']:g}, by {result['shots']}-shot episodes of {result['split']}.",
        ],
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    config_flags.add(parser, required=True)
    arguments.add(parser, "--out", required=True)
    arguments.renamed(parser, "--workdir", "--out")
    parser.add_argument(
        "--strengths", default=STRENGTHS, help="scikit-learn's C, with commas between"
    )


def run(given: argparse.Namespace) -> None:
    config = config_flags.read(given)
    messages.use_compilation_cache()
    result = choose(config, [float(text) for text in given.strengths.split(",")])
    pages.write(Path(given.out, "results", "strength"), result, page(result))
    print(pages.text(page(result), result))
