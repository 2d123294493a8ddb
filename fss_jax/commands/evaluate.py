"""Scores a training, under any protocol.

  fss evaluate --workdir runs/mine
  fss evaluate --workdir runs/mine --protocol oslsm_release --shots 5
  fss evaluate --workdir runs/1nn --config nearest/vgg16 --init caffe:vgg16:FILE

Writes WORKDIR/results/PROTOCOL_Kshot.json, .md and .png (best, median and worst episodes).
  --protocol all   every protocol published for the dataset: results/protocols_Kshot.md
  --exhaustive     every (support, query) pair; with --shots K every set of K supports
  --ways C         episodes of C classes: results/PROTOCOL_Cway_Kshot.*
With --config, what is scored are the weights that its init names, and WORKDIR takes the results.
python evaluate.py is the same command.
"""

import argparse

from fss_jax.runtime import arguments, config_flags, messages

GROUP = "research"
DRAWS = "draws lists of its own"
UNCHANGED = {"ways": 1, "annotation": "mask"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    arguments.add(parser, "--workdir", required=True)
    config_flags.add(parser)
    arguments.add(parser, "--protocol", "--shots", "--split", "--dataset", "--data_dir")
    parser.add_argument("--records", help="a file of episodes: CLASS QUERY SUPPORT,SUPPORT..")
    parser.add_argument("--items", help="a file of IMAGE CLASS lines in place of the filter")
    arguments.add(parser, "--checkpoint", "--episodes", "--annotation")
    boolean = argparse.BooleanOptionalAction
    parser.add_argument(
        "--trivial", action=boolean, default=True, help="score the trivial predictors, too"
    )
    parser.add_argument(
        "--ways", type=arguments.COUNT, default=1, help="classes an episode is about"
    )
    parser.add_argument(
        "--exhaustive", action=boolean, default=False, help="every pair of images, no sampling"
    )
    parser.add_argument(
        "--drop_rare_classes",
        action=boolean,
        default=False,
        help="leave out classes with too few images",
    )
    arguments.add(parser, "--canvas", "--devices", "--cluster")


def run(given: argparse.Namespace) -> None:
    config = config_flags.read(given)

    from fss_jax.reports import page as pages
    from fss_jax.runtime import devices
    from fss_jax.scoring import results
    from fss_jax.studies import every_pair, every_protocol, several_classes

    messages.use_compilation_cache()
    devices.join_cluster(given.cluster)
    names = ("split", "dataset", "data_dir", "checkpoint", "canvas", "drop_rare_classes", "shots")
    where = {name: getattr(given, name) for name in names} | {"device_count": given.devices}
    how = {name: getattr(given, name) for name in ("episodes", "trivial", "annotation")}
    how["config"] = config
    if given.exhaustive:
        _refuse(given, "--exhaustive scores every pair", "records", "episodes", "ways")
        _refuse(given, "--exhaustive shows whole masks", "annotation")
        settings = {
            "protocol": given.protocol,
            "items_file": given.items,
            "config": config,
            **where,
        }
        study, result = every_pair, every_pair.evaluate(given.workdir, **settings)
    elif given.protocol == "all":
        _refuse(given, f"--protocol all {DRAWS}", "records", "items", "ways")
        study, result = every_protocol, every_protocol.evaluate_all(given.workdir, **how, **where)
    elif given.ways > 1:
        _refuse(given, f"--ways {DRAWS}", "records", "items")
        settings = {"ways": given.ways, "protocol": given.protocol, **how, **where}
        study, result = several_classes, several_classes.evaluate(given.workdir, **settings)
    else:
        lists = {"records_file": given.records, "items_file": given.items}
        settings = {"protocol": given.protocol, **lists, **how, **where}
        study, result = results, results.evaluate(given.workdir, **settings)
    if devices.is_lead():
        print(pages.text(study.page(result), result))


def _refuse(given: argparse.Namespace, why: str, *names: str) -> None:
    for name in names:
        if getattr(given, name) != UNCHANGED.get(name):
            raise ValueError(f"{why}; leave out --{name}")
