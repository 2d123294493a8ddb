"""The editor's layers, bounded before anything of them is decoded.

A few kilobytes of PNG unpack to any size, and an upload may name many layers, or one many times. The
page needs one: what was painted. Background and composite, which the page has itself, are not read.
"""

import io
from typing import Any

import numpy as np
from PIL import Image

LAYERS = 1
MAX_PIXELS = 4_000_000  # of a layer: the page shows pictures of 800 x 800
MAX_BYTES = 8 * 2**20  # of a layer's file
WAITING = 32  # layers that were sent and not used yet, of all visitors


def bound(editor: Any) -> Any:
    """Replaces how a `gradio.ImageEditor` takes in what a browser sends; returns it.

    Not a subclass: gradio writes a .pyi file beside every module that has one.
    """
    waiting: dict[str, bytes] = {}

    def accept_blobs(data: Any) -> None:
        content = data.files[0][1] if len(data.files) == 1 else b""
        kind, index, key = (str(data.data.get(name)) for name in ("type", "index", "id"))
        if kind != "layer" or index not in ("0", "null", "None"):
            return  # not needed
        if not 0 < len(content) <= MAX_BYTES or len(key) > 100:
            return
        while len(waiting) >= WAITING:
            waiting.pop(next(iter(waiting)))
        waiting[key] = bytes(content)

    accept_blobs._is_server_fn = True

    def preprocess(payload: Any) -> dict | None:
        if payload is None:
            return None
        if payload.id is not None:
            content = waiting.pop(str(payload.id)[:100], None)
            layers = [] if content is None else [io.BytesIO(content)]
        else:
            layers = [layer.path for layer in payload.layers or [] if layer is not None]
        if len(layers) > LAYERS:
            raise ValueError(f"{len(layers)} layers were sent; the limit is {LAYERS}")
        return {
            "background": None,
            "layers": [decoded(layer) for layer in layers],
            "composite": None,
        }

    editor.accept_blobs, editor.preprocess = accept_blobs, preprocess
    return editor


def decoded(layer: str | io.BytesIO) -> np.ndarray:
    """A layer's pixels, uint8 [h, w, 4].

    Raises:
      ValueError: too many pixels, or no picture; nothing of it is decoded then.
    """
    try:
        with Image.open(layer, formats=("PNG", "WEBP", "JPEG")) as picture:
            if picture.width * picture.height > MAX_PIXELS or getattr(picture, "n_frames", 1) > 1:
                raise ValueError(
                    f"a layer of {picture.width} x {picture.height} pixels was sent; the limit is "
                    f"{MAX_PIXELS}"
                )
            return np.asarray(picture.convert("RGBA"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the layer that was sent is no picture ({error})") from None
