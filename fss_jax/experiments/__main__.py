"""Runs an experiment: python -m fss_jax.experiments fss_table5 --data_dir data --workdir runs

Trains what is missing, resumes what was stopped, scores what has no score yet, and writes
WORKDIR/NAME.md: ours beside the published numbers. `all` runs every experiment. --toy runs the whole
of it within a minute or so, on a few glyph classes with tiny networks: its numbers mean nothing.
--small runs it at the size that two CPU cores train in minutes, where an experiment has such a form;
its page is WORKDIR/NAME_small.md.
"""

import argparse
from pathlib import Path

from fss_jax import experiments
from fss_jax.experiments import runner, toy
from fss_jax.runtime import messages


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m fss_jax.experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help=f"all, {', '.join(experiments.EXPERIMENTS)}")
    parser.add_argument("--data_dir", default="data", help="where datasets were prepared")
    parser.add_argument("--workdir", type=Path, default=Path("runs"), help="one folder a training")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--small", action="store_true", help="for two CPU cores")
    size.add_argument("--toy", action="store_true", help="tiny, to see that it runs")
    arguments = parser.parse_args(argv)
    try:
        chosen = experiments.get(arguments.name, arguments.small)
        messages.show_only_our_messages()
        messages.use_compilation_cache()
        if arguments.toy:
            toy.prepare(arguments.data_dir)
        for name, experiment in chosen:
            if arguments.toy:
                experiment = toy.shrink(experiment)
            print(runner.run(name, experiment, arguments.data_dir, arguments.workdir))
    except (ValueError, OSError) as error:
        messages.fail(error)


if __name__ == "__main__":
    main()
