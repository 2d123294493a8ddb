"""The page of `fss app`: images painted, labelled, looked at and corrected in a browser."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_builders.mask_choice import Choice
from data_builders.pictures import FORMATS
from fss_jax.data.imaging import VOID
from fss_jax.labelling import feature_cache, job, labels, pictures
from fss_jax.labelling.app.editor import bound
from fss_jax.labelling.app.guard import Guard, is_local, known_hosts, plain
from fss_jax.labelling.app.people import SHARED, People, of, read_logins
from fss_jax.labelling.workbench import MAX_BYTES, MAX_PIXELS, ORDERS, read_upload
from fss_jax.reports import drawing
from fss_jax.runtime import locks, messages

SIDE = 800  # pixels that a picture is painted at
THUMBNAIL = 480
OBJECT, NOTHING = drawing.PREDICTION_COLOR, (100, 143, 255)  # what the brush adds, and takes away
SERVED = "served"  # the only folder below --folder that the page serves files from
QUOTA = 2 * 2**30  # bytes of SERVED, which is emptied when the page starts and ends
DELETE = (3600, 24 * 3600)  # every hour, what a session left a day ago
FIELDS = {  # of a mask that can be read in several ways, by the flags of `fss label`
    "--mask_values": ("Values of the object", "1,2 or 128-255"),
    "--void": ("Undecided values", "255"),
    "--mask_color": ("Colors of the object", "176,112,32"),
}
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' "
    "blob:; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; object-src 'none'; frame-ancestors 'none'"
)


def no_network() -> None:
    """To be called before gradio is imported: it asks and tells nobody outside."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def build(people: People, served: Path) -> Any:
    """The page, a `gradio.Blocks`: to each person their own workbench.

    Args:
      served: the folder that files may be served from.
    """
    import gradio as gr

    colors = ["#{:02x}{:02x}{:02x}".format(*color) for color in (OBJECT, NOTHING)]
    brush = gr.Brush(colors=colors, default_size=18, color_mode="fixed")

    def editor(title: str, elem_id: str) -> Any:
        made = gr.ImageEditor(
            label=title, type="numpy", image_mode="RGBA", sources=(), transforms=(),
            brush=brush, format="png",
            layers=gr.LayerOptions(allow_additional_layers=False), height=460, buttons=[],
            elem_id=elem_id,
        )  # fmt: skip
        return bound(made)

    def guarded(function):
        """Gives the workbench of who asks; what a person can fix is shown to them."""

        def call(request: gr.Request, *arguments):
            try:
                return function(of(people, request), *arguments)
            except (ValueError, OSError) as error:
                raise gr.Error(" ".join(str(error).split()), duration=None) from error

        return call

    def open_example(bench, file):
        if file is None:
            return None, None, None
        rgb = read_upload(Path(file))
        return canvas(rgb), rgb, None

    def open_mask(bench, file, rgb, *said):
        if rgb is None:
            raise ValueError("upload the picture first, then its mask")
        if file is None:
            return canvas(rgb), None
        read_upload(Path(file))
        try:
            choice = Choice.parse(*(text or "" for text in said))  # None before it is open
            reading = pictures.read_reading(
                file, max_pixels=MAX_PIXELS, name=Path(file).name, choice=choice
            )
        except ValueError as error:
            raise ValueError(by_field(str(error))) from error
        if reading.label.shape != rgb.shape[:2]:
            raise ValueError("the mask has another size than its picture")
        if reading.note:
            gr.Info(by_field(reading.note), duration=None)
        return canvas(rgb, reading.label == 1), reading.label

    def add_example(bench, drawn, rgb, mask, sparse):
        if rgb is None:
            raise ValueError("upload a picture of the object first")
        marks = strokes(drawn, rgb.shape[:2])
        if not sparse:
            start = np.zeros_like(marks) if mask is None else mask
            marks = np.where(marks == VOID, start, marks)
        bench.add_example(rgb, marks if (marks == VOID).any() else marks == 1)
        return None, None, None, None, None, bench.examples()

    def remove_examples(bench):
        bench.remove_examples()
        return bench.examples()

    def predict(bench, files, folder, order):
        paths = [Path(file) for file in [*(files or []), *(folder or [])]]
        refused = bench.add_images(paths)
        count = bench.predict()
        lines = [f"Labelled images: {count}; examples: {len(bench.examples())}.", *refused]
        return (*gallery(bench, order), None, None, "\n\n".join(lines))

    def gallery(bench, order):
        found = bench.found(order)
        return [(thumbnail(path), line) for _, path, line in found], [name for name, *_ in found]

    def choose(bench, names, event):
        name = names[event.index]
        return canvas(bench.image(name), bench.mask(name)), name, f"Correct **{name}**"

    def correct(bench, drawn, name, order):
        if not name:
            raise ValueError("choose an image above first")
        bench.correct(name, painted(drawn, bench.mask(name)))
        return gallery(bench, order)

    def teach(bench, drawn, name, order):
        shown = correct(bench, drawn, name, order)
        bench.add_example(bench.image(name), bench.mask(name))
        return (*shown, bench.examples())

    def export(bench):
        # Whoever knows a served file's address can read it: nobody guesses this one.
        return str(bench.export(served / secrets.token_hex(16)))

    hidden = {"api_visibility": "private"}
    with gr.Blocks(title="fss_jax", analytics_enabled=False, delete_cache=DELETE) as page:
        gr.Markdown("# Show a thing once, have it found in every other image")
        if people.shared:
            gr.Markdown(f"**{SHARED}**", elem_id="shared")
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
                with gr.Accordion(
                    "If the mask has several values or colors", open=False, elem_id="mask-choice"
                ):
                    said = [gr.Textbox(label=f"{field}, as {example}", elem_id=f"mask-{i}")
                            for i, (field, example) in enumerate(FIELDS.values())]  # fmt: skip
                sparse = gr.Checkbox(
                    label="A few strokes of both colors are enough: the rest is undecided",
                    visible=people.owner.segmenter.takes_undecided, elem_id="sparse",
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
        for event in (mask_file.upload, *(box.submit for box in said)):
            event(guarded(open_mask), [mask_file, original, *said], [paint, given], **hidden)
        cleared = [paint, original, given, example_file, mask_file, examples]
        add.click(guarded(add_example), [paint, original, given, sparse], cleared, **hidden)
        remove.click(guarded(remove_examples), None, examples, **hidden)
        predicted = [overlays, names, files, folder, told]
        for button in (find, again):
            button.click(
                guarded(predict),
                [files, folder, order],
                predicted,
                concurrency_id="model",
                **hidden,
            )
        order.change(guarded(gallery), order, [overlays, names], **hidden)

        def choose_guarded(request: gr.Request, names, event: gr.SelectData):
            return guarded(choose)(request, names, event)

        overlays.select(choose_guarded, names, [fix, chosen, title], **hidden)
        save.click(guarded(correct), [fix, chosen, order], [overlays, names], **hidden)
        use.click(guarded(teach), [fix, chosen, order], [overlays, names, examples], **hidden)
        download.click(guarded(export), None, exported, **hidden)

        def load(bench):
            return *gallery(bench, ORDERS[0]), bench.examples()

        page.load(guarded(load), None, [overlays, names, examples], **hidden)
    return page


def by_field(message: str) -> str:
    """A message about a mask that names the page's fields in place of the command's flags."""
    for flag, (field, _) in FIELDS.items():
        message = message.replace(flag, f"in '{field}':")
    return message


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


def serve(
    people: People,
    host: str,
    port: int,
    *,
    more_hosts: Sequence[str] = (),
    wait: bool = True,
) -> tuple[Any, str]:
    """Serves the page; returns it and its address (at once if not `wait`).

    Args:
      more_hosts: further names that it is known by, as behind a proxy.

    Raises:
      ValueError: others than this computer could open it without a login; or another process serves
        this folder.
    """
    if not is_local(host) and not people.logins:
        raise ValueError(
            f"--host {host} opens the page to others: name them with --logins FILE, lines of "
            "NAME:PASSWORD"
        )
    served = (people.owner.folder / SERVED).resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(served)
    os.environ["FORWARDED_ALLOW_IPS"] = ""  # uvicorn's: nobody speaks for another
    no_network()
    import gradio as gr
    from starlette.middleware import Middleware

    with contextlib.ExitStack() as stack:
        stack.enter_context(locks.alone(people.owner.folder, "served by", "--folder"))
        empty(served)
        stack.callback(empty, served)
        restrict_pillow()
        page = build(people, served).queue(default_concurrency_limit=1)
        guard = Middleware(
            Guard, hosts=known_hosts(host, more_hosts), people=people, served=served,
            quota=QUOTA, policy=POLICY,
        )  # fmt: skip
        plain_theme = gr.themes.Default(
            font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        )
        _, address, _ = page.launch(
            server_name=f"[{plain(host)}]" if ":" in host else host, server_port=port or None,
            share=False, quiet=True, show_error=False, auth=list(people.logins.items()) or None,
            prevent_thread_lock=True, max_file_size=MAX_BYTES, strict_cors=True, ssr_mode=False,
            pwa=False, mcp_server=False, enable_monitoring=False, footer_links=[], theme=plain_theme,
            app_kwargs={"middleware": [guard]},
        )  # fmt: skip
        stack.callback(page.close, verbose=False)
        if people.key:
            address += f"?key={people.key}"
        if not wait:
            page.closing = stack.pop_all()  # whoever serves it so calls its close()
            return page, address
        print(f"open {address} in a browser; Ctrl-C ends it", flush=True)
        page.block_thread()
    return page, address


def empty(served: Path) -> None:
    """Removes what was uploaded for a session or made for one: it ends with the page."""
    shutil.rmtree(served, ignore_errors=True)
    served.mkdir(parents=True, exist_ok=True)


def run(
    workdir: str | None,
    checkpoint: str,
    folder: Path,
    host: str,
    port: int,
    *,
    logins_file: Path | None = None,
    known_as: Sequence[str] = (),
    shared: bool = False,
) -> None:
    """Opens the page and serves it until it is stopped; `fss app --help` says what each does.

    Args:
      workdir: whose model answers; None: the default (`Segmenter.default`).

    Raises:
      ValueError: the extra `app` is not installed; or as `job.open_segmenter` and `serve`.
    """
    no_network()
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ValueError(f"the page needs gradio ({error}): pip install 'fss_jax[app]'") from error
    messages.use_compilation_cache()
    logins = read_logins(logins_file) if logins_file else {}
    cache = feature_cache.usual()
    segmenter = job.open_segmenter(Path(workdir) if workdir else None, checkpoint, cache=cache)
    people = People(segmenter, folder, shared=shared, logins=logins)
    serve(people, host, port, more_hosts=known_as)
