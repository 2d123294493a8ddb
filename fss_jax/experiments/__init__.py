"""Published tables and figures as experiments: `fss experiments NAME`.

Each file here has `EXPERIMENT`, a `runner.Experiment`: what to train, from which weights, and which
scores fill the table. Some have `SMALL`, too: the same table at a size for two CPU cores.
"""

import difflib

from fss_jax.experiments import (
    fss_figure6,
    fss_figure8,
    fss_pascal,
    fss_table1,
    fss_table2,
    fss_table3,
    fss_table4,
    fss_table5,
    fss_table6,
    given_images,
    oslsm_figure3,
    oslsm_table1,
    oslsm_table2,
)
from fss_jax.experiments.runner import Experiment

_MODULES = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        fss_table1,
        fss_table2,
        fss_table3,
        fss_table4,
        fss_table5,
        fss_table6,
        fss_pascal,
        fss_figure6,
        fss_figure8,
        oslsm_table1,
        oslsm_table2,
        oslsm_figure3,
    )
}
EXPERIMENTS: dict[str, Experiment] = {
    **{name: m.EXPERIMENT for name, m in _MODULES.items()},
    **given_images.EXPERIMENTS,
}
SMALL: dict[str, Experiment] = {
    f"{name}_small": m.SMALL for name, m in _MODULES.items() if hasattr(m, "SMALL")
}


def get(name: str, small: bool = False) -> list[tuple[str, Experiment]]:
    """The experiment of that name with its name, or every one for 'all'.

    A small one is called NAME_small, so that one workdir can hold both.

    Raises:
      ValueError: an unknown name, or one that has no small form; naming those there are.
    """
    if name != "all" and name not in EXPERIMENTS:
        close = difflib.get_close_matches(name, EXPERIMENTS, 1)
        raise ValueError(
            f"unknown experiment {name!r}; expected all or one of {', '.join(EXPERIMENTS)}"
            + (f" (did you mean {close[0]!r}?)" if close else "")
        )
    if not small:
        return [(n, e) for n, e in EXPERIMENTS.items() if name in (n, "all")]
    found = [(n, e) for n, e in SMALL.items() if name in (n.removesuffix("_small"), "all")]
    if not found:
        known = ", ".join(n.removesuffix("_small") for n in SMALL) or "no experiment"
        raise ValueError(f"{name} has no --small form; these have: {known}")
    return found
