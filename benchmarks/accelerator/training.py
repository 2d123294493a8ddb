"""Real trainings at full width, for as long as a budget lasts; a further call goes on with them.

python -m benchmarks.accelerator.training --budget 540 --work /tmp/real --out speed_training

Renders fss_glyphs/full on this machine's cores, then trains the relation network in the paper's and the
released form and OSLSM, each for an equal share of the time that is left, and scores each on held-out
classes. OUT.json and OUT.md hold learning curves and scores, OUT.zip their pictures and the results.
OUT.000.npz and so on are the parameters of --ship in half precision, in parts small enough to bring
back. The same command goes on in --work; where that is gone, from the parts: --from OUT. To use them:

python -m benchmarks.accelerator.training --join speed_training --to relation.safetensors
fss evaluate --config relation/release --config.model.batch_norm=running \\
    --config.model.momentum=0.9 --init fss_jax:relation.safetensors --workdir runs/relation
"""

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import jax
from ml_collections import ConfigDict

from benchmarks import machine, tables
from benchmarks.accelerator import parts
from fss_jax import configs
from fss_jax.runtime import checkpoints, messages
from fss_jax.training import loop

SCORING = 40.0  # seconds kept for a score, and what SAVING takes, of each training
SAVING = 25.0
ROOT = Path(__file__).resolve().parents[2]
DATASET, TOY_DATASET = ("fss_glyphs/full", ()), ("fss_glyphs/tiny", ("--option", "classes=12"))


@dataclasses.dataclass(frozen=True)
class Training:
    """One of the trainings.

    Attributes:
      config: METHOD/NAME of fss_jax/configs.
      changes: of the config. A published batch of one would leave a device idle: eight episodes
        make a step, and steps and halving are an eighth.
    """

    config: str
    changes: Mapping[str, object]


COMMON = {"batch": 8, "dtype": "bfloat16", "eval_every": 2500, "log_every": 100}
RUNNING = {"model.batch_norm": "running", "model.momentum": 0.9}
RELATION = {**COMMON, **RUNNING, "steps": 100_000, "halve_every": 10_000, "val_protocol": "uniform",
            "protocol": "uniform"}  # fmt: skip
TRAININGS = {
    "relation_release": Training("relation/release", RELATION),
    "relation_paper": Training("relation/paper", RELATION),
    # fc6 to fc8 from scratch, for which the published rate of 1e-10 on sums of pixels is too small.
    "oslsm": Training(
        "oslsm/release",
        {**COMMON, "canvas": 224, "query_size": 224, "rule": "class_uniform", "steps": 60_000,
         "optimizer": "adam", "lr": 1e-4, "weight_decay": 0.0, "loss": "mean", "clip": 1.0,
         "warmup": 500, "val_protocol": "uniform", "protocol": "uniform",
         "init_skip": "fc6,fc7,fc8", "min_lattice_hits": 0},
    ),
}  # fmt: skip
TINY = {"model.width": 1 / 32, "canvas": 64, "support_size": 64, "query_size": 64, "batch": 2,
        "steps": 2, "steps_per_dispatch": 1, "eval_every": 2, "log_every": 1, "val_episodes": 4,
        "warmup": 0, "dtype": "float32"}  # fmt: skip


def fss(*words: str) -> list[str]:
    return [sys.executable, "-m", "fss_jax", *words]


def get_config(name: str, given: argparse.Namespace) -> ConfigDict:
    """A training's config with its changes."""
    training = TRAININGS[name]
    changes = dict(training.changes)
    done = earlier(given)["steps"] if name == given.ship else 0
    if "init_skip" in changes and given.vgg16.is_file() and not given.toy:
        changes["init"] = f"torchvision:vgg16:{given.vgg16}"
    changes |= TINY if given.toy else {}
    config = configs.get(training.config)
    for key, value in changes.items():
        owner, field = (config.model, key[6:]) if key.startswith("model.") else (config, key)
        owner[field] = value
    config.dataset = f"{TOY_DATASET[0]}-classes-12" if given.toy else DATASET[0]
    config.data_dir = f"{given.work}/data"
    if done:  # the rest of the schedule, on other episodes, with new moments of the optimizer
        config.init, config.init_skip = f"fss_jax:{given.work}/earlier.safetensors", ""
        config.seed += done
        if config.schedule == "halving":
            config.lr *= 0.5 ** (done // config.halve_every)
        config.steps = config.steps if given.toy else max(1, config.steps - done)
    return config


def earlier(given: argparse.Namespace) -> dict:
    """The steps and the journal that came before --from's parameters; no steps without it.

    Raises:
      ValueError: its JSON is of no training that shipped parameters.
    """
    if not given.earlier:
        return {"steps": 0, "curve": []}
    path = Path(f"{given.earlier}.json")
    known = json.loads(path.read_text())
    if "shipped_step" not in known or given.ship not in known["trainings"]:
        raise ValueError(
            f"{path} has no parameters of {given.ship}: expected an OUT that shipped them"
        )
    journal = known["trainings"][given.ship]["curve"]
    steps = known["shipped_step"]
    return {"steps": steps, "curve": [line for line in journal if line["step"] <= steps]}


def call(words: list[str], seconds: float) -> tuple[int, str]:
    """Runs a command; at its time it is asked to save and end. Returns code and last line."""
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, errors="replace",
        cwd=os.getcwd(), env=os.environ | {"PYTHONPATH": _path()},
    )  # fmt: skip
    try:
        _, said = process.communicate(timeout=max(1.0, seconds))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        try:
            _, said = process.communicate(timeout=SAVING * 4)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
    lines = [line for line in said.replace("\r", "\n").splitlines() if line.strip()]
    return process.returncode, (lines or [""])[-1]


def _path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


def curve(folder: Path) -> list[dict]:
    """The lines of a training's journal."""
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def train(name: str, seconds: float, given: argparse.Namespace) -> dict:
    """Trains on for so many seconds, then scores; what failed is a line."""
    folder, began = given.work / name, time.monotonic()
    until = seconds - SCORING - SAVING
    if until < SAVING:
        return {"failed": f"{seconds:.0f} s are too few"}
    words = [sys.executable, "-m", __spec__.name, *sys.argv[1:], "--one", name]
    code, said = call(words, until)
    steps = checkpoints.finished_steps(folder) if folder.exists() else []
    found = {"seconds": time.monotonic() - began, "steps": steps[-1] if steps else 0}
    if code or not steps:
        return found | {"failed": f"training ended with {code}: {said[-150:]}"}
    words = [
        "evaluate",
        "--workdir",
        str(folder),
        "--episodes",
        str(given.episodes),
        "--no-trivial",
    ]
    code, said = call(fss(*words), given.budget if given.toy else SCORING)
    if code:
        return found | {"failed": f"scoring ended with {code}: {said[-150:]}"}
    result = max((folder / "results").glob("*.json"), key=lambda path: path.stat().st_mtime)
    score = json.loads(result.read_text())
    kept = (
        "miou",
        "miou_ci95",
        "fb_iou",
        "episodes",
        "shots",
        "split",
        "dataset",
        "checkpoint_step",
    )
    return found | {key: score[key] for key in kept if key in score}


def pack(result: dict, given: argparse.Namespace) -> None:
    """Curves and results into one archive, and the parameters of --ship into parts."""
    with zipfile.ZipFile(f"{given.out}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in TRAININGS:
            for path in sorted((given.work / name).glob("*.png")):
                archive.write(path, f"{name}/{path.name}")
            for path in sorted((given.work / name / "results").glob("*.json")):
                archive.write(path, f"{name}/{path.name}")
    if not given.ship or not checkpoints.finished_steps(given.work / given.ship):
        return
    found = checkpoints.load(given.work / given.ship)
    size = parts.HALF * sum(leaf.size for leaf in jax.tree.leaves(found.variables)) / 2**20
    if size > given.most:
        result["not_shipped"] = (
            f"{given.ship}: {size:.0f} MiB in half precision, over {given.most:g}"
        )
        return
    paths = parts.split(
        found.variables, Path(given.out), int(given.part * 2**20),
        preprocessing=found.config.model.preprocessing, method=found.config.method,
        config=found.config.to_json(),
    )  # fmt: skip
    known = earlier(given)
    result["shipped_step"] = known["steps"] + found.step
    result["parts"] = {path.name: path.stat().st_size for path in paths}


def table(result: dict) -> list[str]:
    """Scores, and each training's journal in short."""
    rows = []
    for name, found in result["trainings"].items():
        score = found.get("failed", "")
        if "miou" in found:
            low, high = (100 * value for value in found["miou_ci95"])
            score = f"{100 * found['miou']:.1f} ({low:.1f} to {high:.1f})"
        rate = [
            line["episodes_per_second"] for line in found["curve"] if "episodes_per_second" in line
        ]
        validated = [f"{line['step']}: {100 * line['val_miou']:.1f}" for line in found["curve"]
                     if "val_miou" in line]  # fmt: skip
        speed = f"{sorted(rate)[len(rate) // 2]:.0f}" if rate else ""
        rows.append([name, TRAININGS[name].config, str(found.get("steps", 0)), speed, score,
                     ", ".join(validated[-8:])])  # fmt: skip
    lines = tables.markdown(
        [
            "training",
            "config",
            "steps so far",
            "ep/s",
            "test mIoU % (95%)",
            "validation mIoU %, by step",
        ],
        rows,
    )
    return [
        f"{result['dataset']}, prepared in {result['prepare_s']:.0f} s; {result['how']}.",
        "",
        *lines,
        "",
        result.get("not_shipped", ""),
    ]


def run(given: argparse.Namespace, start: float) -> None:
    """Prepares, trains each for its share, writes what travels.

    Raises:
      ValueError: the dataset could not be rendered.
    """
    unknown = set(filter(None, given.only.split(","))) - set(TRAININGS)
    if unknown:
        raise ValueError(f"--only {given.only}: expected some of {','.join(TRAININGS)}")
    if given.earlier:
        if given.earlier == given.out:
            raise ValueError(
                f"--from {given.earlier} is --out, too: give the new files another name"
            )
        earlier(given)
        given.work.mkdir(parents=True, exist_ok=True)
        parts.join(given.earlier, given.work / "earlier.safetensors")
    dataset, options = TOY_DATASET if given.toy else DATASET
    made = ("prepare", dataset, *options, "--data_dir", f"{given.work}/data")
    code, said = call(fss(*made), given.budget)
    if code:
        raise ValueError(f"{dataset} could not be prepared: {said}")
    found, prepared = {}, time.monotonic() - start
    names = given.only.split(",") if given.only else list(TRAININGS)
    for number, name in enumerate(names):
        left = given.budget - (time.monotonic() - start)
        found[name] = train(name, left / (len(names) - number), given)
        found[name]["curve"] = curve(given.work / name)
        if name == given.ship and given.earlier:
            known = earlier(given)
            for line in [found[name], *found[name]["curve"]]:
                for key in ("step", "steps", "checkpoint_step"):
                    if key in line:
                        line[key] += known["steps"]
            found[name]["curve"] = known["curve"] + found[name]["curve"]
        print(name, {k: v for k, v in found[name].items() if k != "curve"}, flush=True)
    # Only now: until here the device is the trainings'.
    result = machine.facts() | {
        "dataset": dataset, "prepare_s": prepared, "budget_s": given.budget, "trainings": found,
        "how": "tiny networks, two steps" if given.toy else "bfloat16, 8 episodes a step",
    }  # fmt: skip
    pack(result, given)
    print(tables.save(given.out, result, "Trainings at full width", table(result)))


def main() -> None:
    start = time.monotonic()
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--budget", type=float, default=540.0, help="seconds in all")
    flags.add_argument(
        "--work", type=Path, default=Path("runs/real"), help="a further call goes on there"
    )
    flags.add_argument("--out", type=Path, default=Path("runs/speed/training"))
    flags.add_argument("--ship", default="relation_release", help="whose parameters are written")
    flags.add_argument("--part", type=float, default=15.9, help="MiB of a part")
    flags.add_argument("--most", type=float, default=63.0, help="MiB of all parts")
    flags.add_argument("--vgg16", type=Path, default=Path(".carry/vgg16.safetensors"))
    flags.add_argument("--episodes", type=int, default=1000, help="of a score")
    flags.add_argument("--only", default="", help=f"some of {','.join(TRAININGS)}")
    flags.add_argument("--toy", action="store_true", help="two steps of tiny networks")
    flags.add_argument(
        "--from", dest="earlier", type=Path,
        help="an OUT of another machine: --ship goes on from its parameters",
    )  # fmt: skip
    flags.add_argument("--join", type=Path, help="an OUT whose parts become one file, --to")
    flags.add_argument("--to", type=Path, help="the file that --join writes, .safetensors")
    flags.add_argument("--one", help=argparse.SUPPRESS)  # the process of one training
    given = flags.parse_args()
    with messages.boundary():
        if given.one:
            messages.show_only_our_messages()
            messages.use_compilation_cache()
            loop.train(get_config(given.one, given), given.work / given.one)
        elif given.join:
            if not given.to or given.to.suffix != ".safetensors":
                raise ValueError("--join needs --to FILE.safetensors")
            parts.join(given.join, given.to)
        else:
            run(given, start)


if __name__ == "__main__":
    main()
