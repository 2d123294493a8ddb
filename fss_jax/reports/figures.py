"""matplotlib without a screen; import `plt` from here."""

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

COLORS = ("#33508f", "#dc267f", "#009e73", "#ffb000", "#648fff")  # told apart by everybody

__all__ = ["COLORS", "plt"]
