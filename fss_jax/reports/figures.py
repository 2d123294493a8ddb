"""matplotlib without a screen; import `plt` from here."""

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

__all__ = ["plt"]
