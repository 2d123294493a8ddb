"""Labels a folder of images on a web page of this computer:

  python -m fss_jax.labelling.app.page [--workdir runs/mine] [--folder labelling]

Paint the object in one to a few pictures, drop the others, look at what was found (the least sure
first), correct it with the brush, use corrections as examples, export. Needs the extra `app`; works
without a network, and only this computer can open the page unless --host says otherwise. Whoever can
open the page can see and change what is in --folder, nothing else.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_builders.pictures import FORMATS
from fss_jax.data.imaging import VOID
from fss_jax.labelling import job, labels, pictures
from fss_jax.labelling.workbench import MAX_BYTES, MAX_PIXELS, ORDERS, Workbench, read_upload
from fss_jax.reports import drawing
from fss_jax.runtime import messages

SIDE = 800  # pixels that a picture is painted at
THUMBNAIL = 480
OBJECT, NOTHING = drawing.PREDICTION_COLOR, (100, 143, 255)  # what the brush adds, and takes away
SERVED = "served"  # the only folder below --folder that the page serves files from
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' "
    "blob:; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; object-src 'none'; frame-ancestors 'none'"
)


def no_network() -> None:
    """To be called before gradio is imported: it asks and tells nobody outside."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def build(bench: Workbench) -> Any:
    """The page of a workbench, a `gradio.Blocks`."""
    import gradio as gr

    colors = ["#{:02x}{:02x}{:02x}".format(*color) for color in (OBJECT, NOTHING)]
    brush = gr.Brush(colors=colors, default_size=18, color_mode="fixed")

    def editor(title: str, elem_id: str) -> Any:
        return gr.ImageEditor(
            label=title, type="numpy", image_mode="RGBA", sources=(), transforms=(),
            brush=brush, format="png",
            layers=gr.LayerOptions(allow_additional_layers=False), height=460, buttons=[],
            elem_id=elem_id,
        )  # fmt: skip

    def guarded(function):
        """What a person can mend is shown to them; an editor's other errors stay ours."""

        def call(*arguments):
            try:
                return function(*arguments)
            except (ValueError, OSError) as error:
                raise gr.Error(" ".join(str(error).split()), duration=None) from error

        return call

    def open_example(file):
        if file is None:
            return None, None, None
        rgb = read_upload(Path(file))
        return canvas(rgb), rgb, None

    def open_mask(file, rgb):
        if rgb is None:
            raise ValueError("upload the picture first, then its mask")
        read_upload(Path(file))
        mask = pictures.read_mask(file, max_pixels=MAX_PIXELS)
        if mask.shape != rgb.shape[:2]:
            raise ValueError("the mask has another size than its picture")
        return canvas(rgb, mask), mask

    def add_example(drawn, rgb, mask, sparse):
        if rgb is None:
            raise ValueError("upload a picture of the object first")
        start = np.zeros(rgb.shape[:2], bool) if mask is None else mask
        bench.add_example(rgb, strokes(drawn, rgb.shape[:2]) if sparse else painted(drawn, start))
        return None, None, None, None, None, bench.examples()

    def remove_examples():
        bench.remove_examples()
        return bench.examples()

    def predict(files, folder, order):
        paths = [Path(file) for file in [*(files or []), *(folder or [])]]
        refused = bench.add_images(paths)
        count = bench.predict()
        lines = [f"Labelled images: {count}; examples: {len(bench.examples())}.", *refused]
        return (*gallery(order), None, None, "\n\n".join(lines))

    def gallery(order):
        found = bench.found(order)
        return [(thumbnail(path), line) for _, path, line in found], [name for name, *_ in found]

    def choose(names, event: gr.SelectData):
        name = names[event.index]
        return canvas(bench.image(name), bench.mask(name)), name, f"Correct **{name}**"

    def correct(drawn, name, order):
        if not name:
            raise ValueError("choose an image above first")
        bench.correct(name, painted(drawn, bench.mask(name)))
        return gallery(order)

    def teach(drawn, name, order):
        shown = correct(drawn, name, order)
        bench.add_example(bench.image(name), bench.mask(name))
        return (*shown, bench.examples())

    def export():
        return str(bench.export(bench.folder / SERVED / "export"))

    hidden = {"api_visibility": "private"}
    with gr.Blocks(title="fss_jax", analytics_enabled=False) as page:
        gr.Markdown("# Show a thing once, have it found in every other image")
        original, given, chosen, names = gr.State(), gr.State(), gr.State(), gr.State([])
        with gr.Row():
            with gr.Column():
                example_file = gr.File(
                    label="1. A picture of the object", file_types=["image"], height=120,
                    elem_id="example-file",
                )  # fmt: skip
                paint = editor("Paint over the object: red is the object, blue is not", "paint")
                mask_file = gr.File(
                    label="or its mask, if you have one", file_types=["image"], height=120,
                    elem_id="mask-file",
                )  # fmt: skip
                sparse = gr.Checkbox(
                    label="A few strokes of both colors are enough: the rest is undecided",
                    visible=bench.segmenter.takes_undecided, elem_id="sparse",
                )  # fmt: skip
                add = gr.Button("Add to the examples", variant="primary")
            with gr.Column():
                examples = gr.Gallery(
                    label="Examples", columns=4, height=240, object_fit="contain", buttons=[],
                    interactive=False, elem_id="examples",
                    fit_columns=False, allow_preview=False,
                )  # fmt: skip
                remove = gr.Button("Remove all examples", size="sm")
                files = gr.File(
                    label="2. Images to search", file_count="multiple", file_types=["image"],
                    height=140, elem_id="image-files",
                )  # fmt: skip
                folder = gr.File(
                    label="or a folder of them", file_count="directory", height=140,
                    elem_id="image-folder",
                )  # fmt: skip
                find = gr.Button("Find it in all images", variant="primary")
                told = gr.Markdown(elem_id="told")
        order = gr.Radio(ORDERS, value=ORDERS[0], label="3. What was found: choose one to correct")
        overlays = gr.Gallery(
            label="Found", columns=5, object_fit="contain", buttons=[], interactive=False,
            allow_preview=False, fit_columns=False, height=420, elem_id="overlays",
        )  # fmt: skip
        title = gr.Markdown("Choose an image above to correct its mask")
        fix = editor("Correct the mask: red adds to the object, blue takes away", "fix")
        with gr.Row():
            save = gr.Button("Save the correction")
            use = gr.Button("Save it and use it as an example", variant="primary")
            again = gr.Button("Find it again")
        download = gr.Button("4. Export masks, table and COCO file")
        exported = gr.File(label="labels.zip", interactive=False, elem_id="exported")

        example_file.change(guarded(open_example), example_file, [paint, original, given], **hidden)
        mask_file.upload(guarded(open_mask), [mask_file, original], [paint, given], **hidden)
        cleared = [paint, original, given, example_file, mask_file, examples]
        add.click(guarded(add_example), [paint, original, given, sparse], cleared, **hidden)
        remove.click(guarded(remove_examples), None, examples, **hidden)
        predicted = [overlays, names, files, folder, told]
        for button in (find, again):
            button.click(guarded(predict), [files, folder, order], predicted, **hidden)
        order.change(guarded(gallery), order, [overlays, names], **hidden)

        def choose_guarded(names, event: gr.SelectData):
            return guarded(choose)(names, event)

        overlays.select(choose_guarded, names, [fix, chosen, title], **hidden)
        save.click(guarded(correct), [fix, chosen, order], [overlays, names], **hidden)
        use.click(guarded(teach), [fix, chosen, order], [overlays, names, examples], **hidden)
        download.click(guarded(export), None, exported, **hidden)
        page.load(lambda: (*gallery(ORDERS[0]), bench.examples()), None,
                  [overlays, names, examples], **hidden)  # fmt: skip
    return page


def canvas(rgb: np.ndarray, mask: np.ndarray | None = None) -> dict:
    """An editor's value: a picture at most SIDE pixels wide and high, with its mask drawn into it.

    What is painted over it is a change of that mask (see `painted`).
    """
    small = Image.fromarray(rgb)
    small.thumbnail((SIDE, SIDE))
    shown = np.asarray(small)
    if mask is not None:
        shrunk = Image.fromarray(mask).resize(small.size, Image.Resampling.NEAREST)
        shown = drawing.overlay(shown, np.asarray(shrunk), OBJECT)
    return {"background": shown, "layers": [], "composite": None}


def strokes(drawn: dict | None, shape: tuple[int, int]) -> np.ndarray:
    """What an editor's strokes decide, uint8 [h, w]: 1 object, 0 not, 255 wherever there is none."""
    nowhere, everywhere = (painted(drawn, np.full(shape, start)) for start in (False, True))
    return np.where(nowhere == everywhere, nowhere, VOID).astype(np.uint8)


def painted(drawn: dict | None, mask: np.ndarray) -> np.ndarray:
    """A mask, bool [h, w], as changed by the strokes of an editor: OBJECT adds, NOTHING takes away."""
    mask = mask.copy()
    for layer in (drawn or {}).get("layers", []):
        large = Image.fromarray(layer).resize(mask.shape[::-1], Image.Resampling.NEAREST)
        red, _, blue, alpha = np.moveaxis(np.asarray(large).astype(int), -1, 0)
        stroke = alpha > 127
        mask = np.where(stroke, red > blue, mask)
    return mask


def thumbnail(overlay: Path | None) -> Image.Image:
    """A small overlay; gray where an image could not be read."""
    if overlay is None:
        return Image.new("RGB", (THUMBNAIL, THUMBNAIL), "gray")
    small = Image.fromarray(labels.read_small(overlay)[1])
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return small


def restrict_pillow() -> None:
    """Gradio decodes what is painted by itself: to it, too, bombs and odd formats are no pictures."""
    Image.init()
    Image.ID[:] = [name for name in Image.ID if name in FORMATS]
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses from twice its limit on


def serve(bench: Workbench, host: str, port: int, *, wait: bool = True) -> tuple[Any, str]:
    """Serves the page; returns it and its address (at once if not `wait`)."""
    served = (bench.folder / SERVED).resolve()
    served.mkdir(parents=True, exist_ok=True)
    os.environ["GRADIO_TEMP_DIR"] = str(served)
    no_network()
    import gradio as gr
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    restrict_pillow()
    page = build(bench).queue(default_concurrency_limit=1)
    # Other sites cannot reach the page through a name of theirs that leads here.
    hosts = ["127.0.0.1", "localhost", host] if host != "0.0.0.0" else ["*"]
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=hosts), Middleware(_Policy)]
    plain = gr.themes.Default(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    _, address, _ = page.launch(
        server_name=host, server_port=port or None, share=False, quiet=True, show_error=False,
        prevent_thread_lock=True, max_file_size=MAX_BYTES, strict_cors=True, ssr_mode=False,
        pwa=False, mcp_server=False, enable_monitoring=False, footer_links=[], theme=plain,
        app_kwargs={"middleware": middleware},
    )  # fmt: skip
    if wait:
        print(f"open {address} in a browser; Ctrl-C ends it", flush=True)
        page.block_thread()
    return page, address


class _Policy:
    """ASGI middleware: tells the browser to load nothing from elsewhere."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def sent(message):
            if message["type"] == "http.response.start":
                message.setdefault("headers", []).extend(
                    [
                        (b"content-security-policy", POLICY.encode()),
                        (b"x-content-type-options", b"nosniff"),
                        (b"referrer-policy", b"no-referrer"),
                    ]
                )
            await send(message)

        await self.app(scope, receive, sent)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m fss_jax.labelling.app.page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--workdir", type=Path, help="that train.py filled; default: the model in the package"
    )
    parser.add_argument("--checkpoint", default="best", help="best, latest, or a step")
    parser.add_argument(
        "--folder", type=Path, help="for uploads and labels; default: WORKDIR/app, or ./labelling"
    )
    parser.add_argument("--host", default="127.0.0.1", help="who may open it; default: only here")
    parser.add_argument("--port", type=int, default=0, help="default: the first free from 7860 on")
    arguments = parser.parse_args(argv)
    folder = arguments.folder or (
        arguments.workdir / "app" if arguments.workdir else Path("labelling")
    )
    no_network()
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        messages.fail(f"the page needs gradio ({error}): pip install 'fss_jax[app]'")
    try:
        messages.use_compilation_cache()
        segmenter = job.open_segmenter(arguments.workdir, arguments.checkpoint)
        serve(Workbench(segmenter, folder), arguments.host, arguments.port)
    except (ValueError, OSError) as error:
        messages.fail(error)


if __name__ == "__main__":
    messages.show_only_our_messages()
    main(sys.argv[1:])
