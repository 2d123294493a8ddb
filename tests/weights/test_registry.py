"""Official weights: downloaded once into a cache, whole and checked, or not at all."""

import hashlib

import pytest

from fss_jax.weights import registry

CONTENT = bytes(range(256)) * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """A registry of one file, 'torchvision:tiny', and an empty cache."""
    source = tmp_path / "server" / "tiny-1234.pth"
    source.parent.mkdir()
    source.write_bytes(CONTENT)

    def offer(digest):
        official = registry.Official(source.as_uri(), digest)
        monkeypatch.setitem(registry.OFFICIAL, "torchvision:tiny", official)
        return source

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return offer


@pytest.mark.parametrize(
    "digest", [f"sha256:{SHA256[:8]}", f"md5:{hashlib.md5(CONTENT).hexdigest()}"]
)
def test_a_file_is_downloaded_once(offered, digest, capsys):
    source = offered(digest)
    path = registry.fetch("torchvision:tiny")
    assert path.parent == registry.cache_folder() and path.read_bytes() == CONTENT
    assert "tiny-1234.pth" in capsys.readouterr().err  # progress
    source.unlink()
    assert registry.fetch("torchvision:tiny") == path


def test_a_wrong_digest_or_no_network_leaves_nothing(offered):
    source = offered("sha256:00000000")
    with pytest.raises(ValueError, match=f"sha256 is {SHA256}, expected sha256:00000000"):
        registry.fetch("torchvision:tiny")
    source.unlink()
    with pytest.raises(ValueError, match="torchvision:tiny:/path/tiny-1234.pth") as error:
        registry.fetch("torchvision:tiny")
    assert "\n" not in str(error.value)
    assert list(registry.cache_folder().iterdir()) == []


def test_torchvision_names_hold_their_digests():
    for name, official in registry.OFFICIAL.items():
        algorithm, _, digits = official.digest.partition(":")
        assert algorithm in hashlib.algorithms_guaranteed and len(digits) >= 8
        if name.startswith("torchvision"):
            assert algorithm == "sha256" and official.url.endswith(f"-{digits}.pth")
