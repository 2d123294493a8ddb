"""Few-shot segmentation in JAX: show a thing once, have it found in every other image."""

from typing import Any

from fss_jax.runtime import old_spellings

__all__ = ["Segmenter"]


def __getattr__(name: str) -> Any:
    """`Segmenter` on demand: most commands of the package need not load it."""
    if name == "Segmenter":
        from fss_jax.labelling.segmenter import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


old_spellings.install()
