"""Published tables as experiments: `python -m fss_jax.experiments NAME`.

Each file here has `EXPERIMENT`, a `runner.Experiment`: what to train, from which weights, and which
scores fill the table.
"""

import difflib

from fss_jax.experiments import fss_pascal, fss_table2, fss_table5
from fss_jax.experiments.runner import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    module.__name__.rpartition(".")[2]: module.EXPERIMENT
    for module in (fss_table2, fss_table5, fss_pascal)
}


def get(name: str) -> list[tuple[str, Experiment]]:
    """The experiment of that name, or every one for 'all'; ValueError names the known ones."""
    if name == "all":
        return list(EXPERIMENTS.items())
    if name not in EXPERIMENTS:
        close = difflib.get_close_matches(name, EXPERIMENTS, 1)
        raise ValueError(
            f"unknown experiment {name!r}; expected all or one of {', '.join(EXPERIMENTS)}"
            + (f" (did you mean {close[0]!r}?)" if close else "")
        )
    return [(name, EXPERIMENTS[name])]
