"""Strict numerics for every test: checked shapes, no silent promotion, four fake devices."""

import atexit
import logging
import os
import shutil
import tempfile
from pathlib import Path

# Before jax is imported. NPROC sizes XLA's CPU thread pool: with fewer threads than twice the
# devices, a collective among fake devices hangs and the process aborts.
# Compiling takes most of the suite's time: LLVM need not optimize what runs for milliseconds.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true",
)
os.environ.setdefault("NPROC", "8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")

# What one test or subprocess compiled, the others load: a quarter of the suite's time otherwise.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="fss_jax_xla_")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jaxtyping  # noqa: E402

jaxtyping.install_import_hook("fss_jax", "beartype.beartype")

import jax  # noqa: E402
import pytest  # noqa: E402
import toy  # noqa: E402
import toy_run  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def own_log():
    """A command run inside a test turns the package's log to its own terminal: turned back after."""
    log = logging.getLogger("fss_jax")
    before = log.propagate, log.handlers, log.level
    yield
    log.propagate, log.handlers, log.level = before


@pytest.fixture(autouse=True, scope="module")
def few_mappings():
    """Frees compiled programs before a process has more of them than Linux lets it map (65,530)."""
    yield
    maps = Path("/proc/self/maps")
    if maps.is_file() and len(maps.read_text().splitlines()) > 40_000:
        jax.clear_caches()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the project; a user's machine does not have it."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory) -> Path:
    """A data_dir that holds `toy`'s dataset."""
    folder = tmp_path_factory.mktemp("data")
    toy.prepare(folder)
    return folder


@pytest.fixture
def toy_config(toy_data) -> ConfigDict:
    """`toy`'s config on `toy_data`, the test's own."""
    config = toy.get_config()
    config.data_dir = str(toy_data)
    return config


@pytest.fixture(scope="session")
def toy_workdir(tmp_path_factory) -> Path:
    """A workdir of the toy config with a checkpoint of fresh variables; not to be changed."""
    return toy_run.save(tmp_path_factory.mktemp("toy"))
