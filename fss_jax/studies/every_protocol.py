"""One model under every protocol that its dataset can serve, side by side, and what differs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fss_jax.data.records import TooFewImages
from fss_jax.runtime import files
from fss_jax.runtime.devices import is_lead
from fss_jax.scoring import protocols, results
from fss_jax.scoring.protocols import Protocol
from fss_jax.scoring.workdir import open_run, provenance_line

SHOWN = {  # fields of a protocol: how a row of the table calls them
    "rule": "list",
    "episodes": "episodes a run",
    "runs": "runs",
    "seed": "seed",
    "queries": "queries an episode",
    "score_size": "scored at",
    "void": "void pixels",
    "metric": "IoU of a class",
    "min_lattice_hits": "lattice points at least",
    "min_area": "object pixels at least",
    "also": "items in spite of the filter",
    "without": "items left out",
    "training": "published training images",
}
WORDS = {
    ("metric", "pooled"): "over summed pixels",
    ("metric", "per_image"): "mean over images",
    ("void", "background"): "count as background",
    ("void", "ignore"): "left out",
    ("score_size", 0): "the image's own size",
}


def word(field: str, value: Any) -> str:
    """A field's value as a person reads it."""
    if (field, value) in WORDS:
        return WORDS[field, value]
    if field == "score_size":
        return f"{value} x {value}"
    if field in ("also", "without"):
        return ", ".join(f"{image} {class_id}" for image, class_id in value) or "none"
    return str(value) or "not stated"


def differing(chosen: Iterable[Protocol]) -> list[str]:
    """The fields in which not all of the protocols are the same, in the order of SHOWN."""
    chosen = list(chosen)
    return [field for field in SHOWN if len({getattr(p, field) for p in chosen}) > 1]


def explain(protocol: Protocol, first: Protocol) -> str:
    """What makes a protocol's number another than the first's, from their fields."""
    return "; ".join(
        f"{SHOWN[field]}: {word(field, getattr(protocol, field))} instead of "
        f"{word(field, getattr(first, field))}"
        for field in differing([protocol, first])
    )


def evaluate_all(workdir: str | Path, *, shots: int | None = None, **settings: Any) -> dict:
    """Scores a workdir under each protocol that was published for its dataset.

    Writes WORKDIR/results/protocols_Kshot.{md,json} beside each protocol's own files. A protocol that
    does not apply is named with its reason: made for other data, or too few images for its list.

    Args:
      settings: as of `results.evaluate`, but for the protocol.

    Returns:
      What the JSON file holds: 'scores' (a result by protocol name) and 'left_out' (a reason by name).
    """
    opening = ("split", "dataset", "data_dir", "checkpoint", "canvas", "config", "annotation")
    run = open_run(workdir, **{k: v for k, v in settings.items() if k in opening})
    scores, left_out = {}, {}
    for name, protocol in protocols.PROTOCOLS.items():
        if not protocol.serves(run.dataset):
            left_out[name] = f"for {' or '.join(protocol.datasets)}, this is {run.dataset}"
            continue
        try:
            scores[name] = results.evaluate(workdir, protocol=name, shots=shots, **settings)
        except TooFewImages as error:
            left_out[name] = str(error)
    compared = {
        "method": run.config.method,
        "dataset": run.dataset,
        "shots": shots or run.config.shots,
        "scores": scores,
        "left_out": left_out,
    }
    if is_lead():
        stem = run.result(f"protocols_{compared['shots']}shot")
        files.write_json(stem.with_suffix(".json"), compared)
        files.write_text(stem.with_suffix(".md"), table(compared))
    return compared


def table(compared: dict) -> str:
    """The protocols as columns, what was measured and how they differ as rows."""
    chosen = [protocols.get(name) for name in compared["scores"]]
    lines = [f"# {compared['method']}, {compared['dataset']}, {compared['shots']}-shot", ""]
    if chosen:
        lines += _rows(compared["scores"], chosen)
        lines += ["", f"What each changes against {chosen[0].name}:", ""]
        lines += [f"- **{p.name}**: {explain(p, chosen[0])}. {p.source}." for p in chosen[1:]]
        lines.insert(-len(chosen[1:]) or len(lines), f"- **{chosen[0].name}**: {chosen[0].source}.")
    if compared["left_out"]:
        lines += ["", "Not scored:", ""]
        lines += [f"- {name}: {reason}" for name, reason in compared["left_out"].items()]
    for result in list(compared["scores"].values())[:1]:
        step = result["checkpoint_step"]
        lines += ["", f"Checkpoint step {step}; {provenance_line(result)}.", ""]
        lines += [f"`{result['command']}`"]
    return "\n".join([*lines, ""])


def _rows(scores: dict[str, dict], chosen: list[Protocol]) -> list[str]:
    def percent(value: float, bounds: Iterable[float]) -> str:
        low, high = bounds
        return f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"

    def row(title: str, cells: Iterable[str]) -> str:
        return f"| {title} | {' | '.join(cells)} |"

    found = list(scores.values())
    lines = [row("", scores), row("---", ["---"] * len(scores))]
    lines.append(row("**mIoU % (95%)**", (percent(r["miou"], r["miou_ci95"]) for r in found)))
    lines.append(row("FB-IoU %", (percent(r["fb_iou"], r["fb_iou_ci95"]) for r in found)))
    for name in found[0]["trivial"] or {}:
        cells = (f"{100 * r['trivial'][name]:.1f}" for r in found)
        lines.append(row(name.replace("_", " "), cells))
    lines.append(row("episodes scored", (str(r["episodes"]) for r in found)))
    lines.append(row("classes", (str(len(r["per_class"])) for r in found)))
    lines.append(row("records", (f"`{r['records_sha256'][:12]}`" for r in found)))
    lines.append(row("the published list", map(_is_published, found, chosen)))
    lines += [
        row(SHOWN[field], (word(field, getattr(p, field)) for p in chosen))
        for field in differing(chosen)
    ]
    return lines


def _is_published(result: dict, protocol: Protocol) -> str:
    if not protocol.lists:
        return "none known"
    return "yes" if result["records_sha256"] in protocol.lists else "no, of these images"
