"""docs/add-a-weight-format.md performed: its file, put beside the others, is found by its name."""

import re
from pathlib import Path

import numpy as np
import pytest

from fss_jax import weights

PAGE = Path(__file__).resolve().parents[2] / "docs/add-a-weight-format.md"


@pytest.fixture
def with_npz(tmp_path, monkeypatch):
    (code,) = re.findall(
        r'```python title="fss_jax/weights/npz.py"\n(.*?)```', PAGE.read_text(), re.S
    )
    (tmp_path / "formats").mkdir()
    (tmp_path / "formats/npz.py").write_text(code)
    monkeypatch.setattr(weights, "__path__", [*weights.__path__, str(tmp_path / "formats")])
    weights.formats.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    weights.formats.cache_clear()


def test_the_page_s_format_is_found_and_reads(with_npz):
    leaf = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(with_npz / "mine.npz", **{"params/fc/kernel": leaf, "preprocessing": "unit"})
    found = weights.read(f"npz:{with_npz / 'mine.npz'}")
    assert found.preprocessing == "unit"
    np.testing.assert_array_equal(found.leaves["params/fc/kernel"], leaf)
    (with_npz / "bad.npz").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"bad\.npz"):
        weights.read(f"npz:{with_npz / 'bad.npz'}")


def test_an_unknown_format_names_the_known():
    with pytest.raises(ValueError, match=r"expected one of caffe:ARCH\[:FILE\].*pip:NAME"):
        weights.read("npz:x")
