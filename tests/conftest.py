"""Strict numerics for every test: checked shapes, no silent promotion, eight fake devices."""

import os
from pathlib import Path

# Before jax is imported. NPROC sizes XLA's CPU thread pool: with fewer threads than twice the
# devices, a collective among fake devices hangs and the process aborts.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
os.environ.setdefault("NPROC", "8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")

import jaxtyping  # noqa: E402

jaxtyping.install_import_hook("fss_jax", "beartype.beartype")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the project; a user's machine does not have it."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED}")
    return SHARED
