"""Where nothing can be kept, as in a container of any user id: commands do without a cache."""

import os
from pathlib import Path

import jax
import pytest

from fss_jax.labelling import feature_cache
from fss_jax.runtime import messages


def unknown():
    raise RuntimeError("Could not determine home directory.")


@pytest.fixture(params=["no home", "a home that is no folder", "a home that is read-only"])
def nothing_kept(request, tmp_path, monkeypatch):
    """No place for a cache; what was set up before the test is so again afterwards."""
    for name in ("XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    if request.param == "no home":
        monkeypatch.setattr(Path, "home", unknown)
    elif request.param == "a home that is no folder":  # as /dev/null of a service's user
        (tmp_path / "home").touch()
        monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    elif os.geteuid() == 0:
        pytest.skip("nothing is read-only for root")
    else:
        (tmp_path / "home").mkdir(mode=0o500)
        monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")


def test_without_a_home_there_is_no_cache_and_no_error(nothing_kept):
    before = jax.config.jax_compilation_cache_dir
    messages.use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == before
    assert feature_cache.usual() is None


def test_a_folder_for_caches_is_enough_without_a_home(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "home", unknown)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert messages.cache_home() == tmp_path
    assert feature_cache.usual().folder == tmp_path / "fss_jax" / "features"
