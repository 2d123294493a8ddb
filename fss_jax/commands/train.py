"""Trains a method.

  fss train --config oslsm/quickstart --workdir runs/mine
  fss train --config oslsm/quickstart --workdir runs/mine --config.lr=0.001 --config.model.hidden=256
  fss train --config oslsm/release --workdir runs/fold0 --dry_run
  fss train --config relation/fs_coco_finetune --workdir runs/fs_coco --init workdir:runs/fss1000

A second start in the same workdir resumes from its last checkpoint. SIGTERM saves first, and ends with
exit code 75: try again.
`fss models` lists the configs; python train.py is the same command.
"""

import argparse
import sys

from data_builders import interrupts
from fss_jax.runtime import arguments, config_flags, messages

GROUP = "research"


def add_flags(parser: argparse.ArgumentParser) -> None:
    config_flags.add(parser, required=True)
    arguments.add(parser, "--workdir", required=True)
    parser.add_argument("--init_from", metavar="WORKDIR", help="the same as --init workdir:WORKDIR")
    arguments.add(parser, "--devices", "--cluster")
    parser.add_argument(
        "--scale",
        type=arguments.COUNT,
        default=1,
        help="so many times the batch, and as many times fewer steps, for more devices",
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="only say what it would do: data, lists, memory, devices, paths; no weights, no step",
    )
    parser.add_argument(
        "--device_gib",
        type=float,
        help="memory to plan for with --dry_run; otherwise what is there",
    )


def run(given: argparse.Namespace) -> None:
    if given.init_from:
        if given.init:
            raise ValueError("--init and --init_from both name weights; leave one of them out")
        given.init = f"workdir:{given.init_from}"
    config = config_flags.read(given)

    from fss_jax.reports import page as pages
    from fss_jax.runtime import checkpoints, devices
    from fss_jax.training import base_network, dry_run, loop
    from fss_jax.training.scale import scale

    messages.use_compilation_cache()
    devices.join_cluster(given.cluster)
    config = scale(config, given.scale)
    learner = base_network.learner_of(config)
    if given.dry_run:
        told = dry_run.dry_run(config, given.workdir, given.devices, learner, given.device_gib)
        if devices.is_lead():
            print(told)
    elif learner is base_network.LEARNER:
        result = base_network.train(config, given.workdir, given.devices)
        print(pages.text(base_network.page(result), result))
    else:
        loop.train(config, given.workdir, given.devices, learner)
    if not given.dry_run and checkpoints.finished_steps(given.workdir)[-1] < config.steps:
        sys.exit(interrupts.TRY_AGAIN)  # SIGTERM came, and it saved
