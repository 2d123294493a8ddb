"""Official addresses of pretrained weights, and a cache that they are downloaded to once."""

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from fss_jax.runtime import messages

_TORCH = "https://download.pytorch.org/models/"
_KERAS = "https://storage.googleapis.com/tensorflow/keras-applications/"


class Official(NamedTuple):
    """An address and the digest that its publisher states: 'algorithm:first hexadecimal digits'.

    torchvision's file names hold the first eight digits of the SHA-256; Keras and Caffe's model zoo
    state MD5 and SHA-1, which guard against damage rather than forgery.
    """

    url: str
    digest: str


OFFICIAL = {
    "torchvision:vgg16": Official(f"{_TORCH}vgg16-397923af.pth", "sha256:397923af"),
    "torchvision:vgg16_bn": Official(f"{_TORCH}vgg16_bn-6c64b313.pth", "sha256:6c64b313"),
    "torchvision:alexnet": Official(f"{_TORCH}alexnet-owt-7be5be79.pth", "sha256:7be5be79"),
    # The first version of the ResNets, which the published few-shot results start from.
    "torchvision:resnet50": Official(f"{_TORCH}resnet50-0676ba61.pth", "sha256:0676ba61"),
    "torchvision:resnet101": Official(f"{_TORCH}resnet101-63fe2227.pth", "sha256:63fe2227"),
    "torchvision:inception_v3": Official(
        f"{_TORCH}inception_v3_google-0cc3c7bd.pth", "sha256:0cc3c7bd"
    ),
    "torchvision:squeezenet1_0": Official(f"{_TORCH}squeezenet1_0-b66bff10.pth", "sha256:b66bff10"),
    "caffe:vgg16": Official(
        "http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/VGG_ILSVRC_16_layers.caffemodel",
        "sha1:9363e1f6d65f7dba68c4f27a1e62105cdf6c4e24",
    ),
    "caffe:alexnet": Official(
        "http://dl.caffe.berkeleyvision.org/bvlc_alexnet.caffemodel",
        "sha1:9116a64c0fbe4459d18f4bb6b56d647b63920377",
    ),
    "caffe:fcn32s": Official(
        "http://dl.caffe.berkeleyvision.org/fcn32s-heavy-pascal.caffemodel",
        "sha1:05eb922d7829c39448f57e5ab9d8cd75d6c0be6d",
    ),
    "keras:vgg16": Official(
        f"{_KERAS}vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        "md5:64373286793e3c8b2b4e3219cbf3544b",
    ),
    "keras:resnet50": Official(
        f"{_KERAS}resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5",
        "md5:2cb95161c43110f7111970584f804107",
    ),
    "keras:resnet101": Official(
        f"{_KERAS}resnet/resnet101_weights_tf_dim_ordering_tf_kernels.h5",
        "md5:f1aeb4b969a6efcfb50fad2f0c20cfc5",
    ),
    "keras:inception_v3": Official(
        f"{_KERAS}inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels.h5",
        "sha256:00c9ea4e4762f716ac4d300d6d9c2935639cc5e4d139b5790d765dcbeea539d0",
    ),
}


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/fss_jax/weights, usually ~/.cache/fss_jax/weights.

    Raises:
      ValueError: there is no home.
    """
    home = messages.cache_home()
    if home is None:
        raise ValueError("there is no home to keep downloads in; set XDG_CACHE_HOME to a folder")
    return home / "fss_jax" / "weights"


def fetch(name: str) -> Path:
    """The local copy of official weights, downloaded (with progress) if it is not there yet.

    Args:
      name: 'torchvision:vgg16' and the like; see OFFICIAL.

    Raises:
      ValueError: no official address is known, no network, or the digest differs. Nothing is kept
        of a download that fails.
    """
    if name not in OFFICIAL:
        known = ", ".join(OFFICIAL)
        raise ValueError(f"{name}: no official address known; write {name}:/path (known: {known})")
    official = OFFICIAL[name]
    path = cache_folder() / official.url.rpartition("/")[2]
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            digest = _download(official, file)
        if not digest.startswith(official.digest.partition(":")[2]):
            raise ValueError(
                f"{official.url}: its {official.digest.partition(':')[0]} is {digest}, expected "
                f"{official.digest}; try again, or name a copy: {name}:/path/{path.name}"
            )
        os.replace(partial, path)
    except (OSError, urllib.error.URLError) as error:
        raise ValueError(
            f"{official.url} cannot be downloaded ({error}); get it elsewhere and name the copy: "
            f"{name}:/path/{path.name}"
        ) from None
    finally:
        Path(partial).unlink(missing_ok=True)
    return path


def _download(official: Official, file) -> str:
    digest = hashlib.new(official.digest.partition(":")[0])
    with urllib.request.urlopen(official.url, timeout=30) as response:
        total = int(response.headers.get("Content-Length") or 0) or None
        name = official.url.rpartition("/")[2]
        with tqdm(total=total, unit="B", unit_scale=True, desc=name) as progress:
            while chunk := response.read(1 << 20):
                file.write(chunk)
                digest.update(chunk)
                progress.update(len(chunk))
    return digest.hexdigest()
