"""`python -m fss_jax.OLD`, as commands were called before `fss`: one line that names the new one.

For one release; then this file goes, with the lines of fss_jax/__init__.py that install it.
"""

import importlib.abc
import importlib.machinery
import sys
from types import CodeType

NEW = {
    "app": "fss app",
    "base_network": "fss train",
    "calibrate": "fss calibrate",
    "clicks": "fss study clicks",
    "conditioning": "fss study conditioning",
    "experiments.__main__": "fss experiments",
    "export.__main__": "fss export",
    "label": "fss label (and fss correct, which was label refine)",
    "models": "fss models",
    "refine": "fss study growing_support",
    "shipped": "fss label (the package holds no model: fss train, then --workdir)",
    "strength": "fss study regularization",
    "weights.__main__": "fss weights",
}


class Finder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Answers for modules that are no more, after all other finders have failed."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.removeprefix("fss_jax.") not in NEW:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def _told(self, fullname: str) -> str:
        old = fullname.removesuffix(".__main__")
        return f"python -m {old} is now {NEW[fullname.removeprefix('fss_jax.')]}"

    def get_code(self, fullname: str) -> CodeType:
        """What `python -m` runs."""
        line = f"from fss_jax.runtime import messages\nmessages.fail({self._told(fullname)!r})"
        return compile(line, "<old spelling>", "exec")

    def get_source(self, fullname: str) -> None:
        return None

    def exec_module(self, module) -> None:
        """What `import` runs.

        Raises:
          ModuleNotFoundError: always.
        """
        raise ModuleNotFoundError(self._told(module.__name__), name=module.__name__)


def install() -> None:
    sys.meta_path.append(Finder())
