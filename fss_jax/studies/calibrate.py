"""How good a mask is expected to be, fitted on classes that were not trained on: `fss calibrate`."""

import collections
from pathlib import Path

import jax
import numpy as np
import scipy.special
import scipy.stats
from ml_collections import ConfigDict
from tqdm import tqdm

from fss_jax.data import bank as banks
from fss_jax.reports import figures
from fss_jax.reports import page as pages
from fss_jax.reports.page import Page, Table
from fss_jax.reports.provenance import provenance
from fss_jax.runtime import files
from fss_jax.scoring import calibration, evaluation, metrics
from fss_jax.scoring.calibration import Calibration, Curve
from fss_jax.scoring.workdir import Opened, open_workdir

SHOTS = (1, 5)


def measure(opened: Opened, shots: int, episodes: int) -> tuple[np.ndarray, np.ndarray]:
    """(confidence, IoU) of each query of a split's episodes, both [n] in 0..1.

    Raises:
      ValueError: too few images of the classes for this number of supports.
    """
    data = opened.with_images(shots + opened.protocol.queries).data
    records = opened.protocol.records(data, shots)[:episodes]
    used = np.unique(data.item_image[np.concatenate([records.support, records.query], 1)])
    bank = jax.device_put(banks.load_bank(data, opened.config.canvas, used.tolist()))
    evaluator = evaluation.Evaluator(
        opened.model, opened.view, jax.local_devices()[:1], batch=1, with_trivial=False
    )
    sure, ious = [], []
    size = opened.config.eval_batch
    for start in tqdm(range(0, len(records), size), desc=f"{opened.split}, {shots} shots"):
        rows = np.minimum(np.arange(start, start + size), len(records) - 1)
        episode, logits = evaluator.show(opened.variables, bank, records[rows])
        counts = metrics.confusion(logits > 0, episode.query_mask, episode.query_valid)
        probability = scipy.special.expit(logits)
        for b in range(min(size, len(records) - start)):
            for q in range(logits.shape[1]):
                valid = episode.query_valid[b, q] > 0
                mask = logits[b, q] > 0
                sure.append(calibration.confidence(mask, probability[b, q], valid))
                ious.append(float(metrics.iou(np.asarray(counts[b, q]))))
    return np.asarray(sure), np.asarray(ious)


def calibrate(
    workdir: str | Path,
    *,
    shots: tuple[int, ...] = (),
    episodes: int = 500,
    checkpoint: str = "best",
    data_dir: str | None = None,
    dataset: str | None = None,
    canvas: int | None = None,
    config: ConfigDict | None = None,
) -> dict:
    """Fits, keeps and measures the curves, as the module's text says; returns the result's fields.

    Args:
      shots: numbers of supports; by default 1 and 5, as far as the classes have enough images, or
        what a model that serves no other number was trained with.
      config: of a method that needs no training; its curves are kept as those of step 0.
      dataset: measure on the test classes of this one, with the curves that are kept already.

    Raises:
      ValueError, FileNotFoundError: no checkpoint, data, or (with `dataset`) no calibration.
    """
    common = {"checkpoint": checkpoint, "data_dir": data_dir, "config": config}
    test = open_workdir(workdir, dataset=dataset, canvas=canvas, **common)
    config = test.config
    path = test.workdir / calibration.FILE
    opened = open_workdir(workdir, split=config.val_split, protocol=config.val_protocol, **common)
    if not shots:
        known = (config.shots,) if test.model.serves_its_shots_only else SHOTS
        shots = tuple(k for k in known if _enough(test, k) and _enough(opened, k)) or known[:1]
    if dataset:
        fitted = calibration.load(path, test.step)
        if fitted is None:
            raise ValueError(
                f"{path} does not hold a calibration of step {test.step}; run this command without "
                "--dataset first"
            )
    else:
        fitted = Calibration(
            test.step, {k: Curve.fit(*measure(opened, k, episodes)) for k in sorted(set(shots))}
        )
        files.write_json(path, {**fitted.to_json(), **opened.facts(), "episodes": episodes})
    measured = {k: measure(test, k, episodes) for k in sorted(set(shots))}
    result = {**test.facts(), "shots": {}, **provenance()}
    for k, (sure, ious) in measured.items():
        expected = np.asarray([fitted.expected_iou(c, k) for c in sure])
        result["shots"][str(k)] = {
            "images": len(ious),
            "mean_iou": float(ious.mean()),
            "mean_confidence": float(sure.mean()),
            "mean_expected_iou": float(expected.mean()),
            "ece_raw": calibration.expected_calibration_error(sure, ious),
            "ece_calibrated": calibration.expected_calibration_error(expected, ious),
            "rank_correlation": _rank_correlation(sure, ious),
            "reliability_raw": calibration.reliability(sure, ious),
            "reliability_calibrated": calibration.reliability(expected, ious),
        }
    stem = test.result("calibration")
    pages.write(stem, result, page(result), lambda path: _diagram(path, result))
    return result


def _enough(opened: Opened, shots: int) -> bool:
    """Whether the classes have the images for an episode of so many supports."""
    counts = collections.Counter(class_id for _, class_id in opened.data.items).values()
    pick = max if opened.config.drop_rare_classes else min
    return pick(counts, default=0) >= shots + opened.protocol.queries


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's; 0 where one of them does not vary."""
    ranks = [scipy.stats.rankdata(values) for values in (x, y)]
    return float(np.corrcoef(*ranks)[0, 1]) if all(np.ptp(r) for r in ranks) else 0.0


SHOWN = {  # of each number of supports: fields, and how the table calls them
    "mean_iou": "mean IoU",
    "mean_confidence": "mean raw confidence",
    "mean_expected_iou": "mean expected IoU",
    "ece_raw": "ECE raw",
    "ece_calibrated": "ECE calibrated",
    "rank_correlation": "rank correlation",
}


def page(result: dict) -> Page:
    """A calibration's result, to read."""
    rows = [
        (k, row["images"], *(f"{row[name]:.3f}" for name in SHOWN))
        for k, row in result["shots"].items()
    ]
    return Page(
        f"{result['method']}, {result['dataset']} {result['split']}: expected IoU",
        [Table(("supports", "images", *SHOWN.values()), rows)],
    )


def _diagram(path: Path, result: dict) -> None:
    """Mean IoU over mean expectation, bin by bin; points are as large as their bin."""
    plt = figures.plt
    shots = result["shots"]
    figure, axes = plt.subplots(
        1, len(shots), figsize=(4.2 * len(shots), 4.2), layout="constrained", squeeze=False
    )
    for axis, (k, row) in zip(axes[0], shots.items(), strict=True):
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for kind, color in (("raw", "#ffb000"), ("calibrated", "#009e73")):
            expected, ious, counts = np.asarray(row[f"reliability_{kind}"]).T
            axis.plot(expected, ious, color=color, linewidth=1)
            axis.scatter(
                expected,
                ious,
                400 * counts / row["images"] + 8,
                color=color,
                label=f"{kind}, ECE {row[f'ece_{kind}']:.3f}",
            )
        axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="expected IoU", ylabel="mean IoU")
        what = f"{result['dataset']} {result['split']}, {k} support{'s' * (k != '1')}"
        axis.set_title(what, fontsize=10)
        axis.legend(loc="upper left", fontsize=8)
    with files.atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)
