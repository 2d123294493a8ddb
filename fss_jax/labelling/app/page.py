"""The page of `fss app`: images painted, labelled, looked at and corrected in a browser."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_builders.mask_choice import Choice
from fss_jax.data.imaging import VOID
from fss_jax.labelling import feature_cache, job, pictures
from fss_jax.labelling.app import guard, keys, view
from fss_jax.labelling.app.editor import bound
from fss_jax.labelling.app.painting import NOTHING, OBJECT, canvas, painted, strokes
from fss_jax.labelling.app.people import SHARED, People, of, read_logins
from fss_jax.labelling.workbench import MAX_BYTES, MAX_PIXELS, ORDERS, read_upload
from fss_jax.runtime import locks, messages

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

    @contextlib.contextmanager
    def shown():
        """What a person can fix is shown to them."""
        try:
            yield
        except (ValueError, OSError) as error:
            raise gr.Error(" ".join(str(error).split()), duration=None) from error

    def guarded(function):
        """Gives the workbench of who asks."""

        def call(request: gr.Request, *arguments):
            with shown():
                return function(of(people, request), *arguments)

        return call

    def guarded_turns(function):
        """`guarded` for what answers several times."""

        def call(request: gr.Request, *arguments):
            with shown():
                yield from function(of(people, request), *arguments)

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

    def show_sample(bench):
        bench.add_sample()
        return bench.examples(), "The pictures are there: have it found."

    def predict(bench, files, folder, order, names):
        """What is in view first: a correction's effect is seen long before a large folder is done."""
        paths = [Path(file) for file in [*(files or []), *(folder or [])]]
        refused = bench.add_images(paths)
        seen = names[: view.IN_VIEW]
        turns = bench.predict_in_turn(seen)
        count = next(turns)
        if count:
            found = [item for item in bench.found(order) if item[0] in seen]
            yield (*view.gallery(found), None, None, "New masks of the first; the others follow.")
        count += sum(turns)
        lines = [f"Labelled images: {count}; examples: {len(bench.examples())}.", *refused]
        lines += bench.changes()
        yield (*gallery(bench, order), None, None, "\n\n".join(lines))

    def gallery(bench, order, first=0):
        return view.gallery(bench.found(order), first)

    def turn(by):
        return lambda bench, order, first: gallery(bench, order, first + by * view.PAGE)

    def opened(bench, name):
        return canvas(bench.image(name), bench.mask(name)), name, f"Correct **{name}**"

    def choose(bench, names, event):
        return opened(bench, names[event.index])

    def step(by):
        def move(bench, name, order, names):
            found = bench.found(order)
            name, place = view.beside(found, name, by)
            # Forty thumbnails take longer to send than one picture to open.
            same = view.is_shown(found, place, names)
            shown = [gr.skip()] * len(listed) if same else view.gallery(found, place)
            return (*opened(bench, name), *shown)

        return move

    def correct(bench, drawn, name):
        if not name:
            raise ValueError("choose an image above first")
        bench.correct(name, painted(drawn, bench.mask(name)))

    def accept(bench, drawn, name, order):
        # By the order before: what is corrected goes to the end of "least sure first".
        following = view.beside(bench.found(order), name, 1)[0] if name else name
        correct(bench, drawn, name)
        found = bench.found(order)
        _, first = view.beside(found, following, 0)
        return (*opened(bench, following), *view.gallery(found, first))

    def teach(bench, drawn, name, order, first):
        correct(bench, drawn, name)
        bench.add_example(bench.image(name), bench.mask(name))
        return (*gallery(bench, order, first), bench.examples())

    def export(bench):
        # Whoever knows a served file's address can read it: nobody guesses this one.
        return str(bench.export(served / secrets.token_hex(16)))

    hidden = {"api_visibility": "private"}
    with gr.Blocks(title="fss_jax", analytics_enabled=False, delete_cache=DELETE) as page:
        gr.Markdown("# Show a thing once, have it found in every other image")
        if people.shared:
            gr.Markdown(f"**{SHARED}**", elem_id="shared")
        original, given, chosen = gr.State(), gr.State(), gr.State()
        names, first = gr.State([]), gr.State(0)
        with gr.Row():
            with gr.Column():
                example_file = gr.File(
                    label="1. A picture of the object", file_types=["image"], height=120,
                    elem_id="example-file",
                )  # fmt: skip
                paint = editor("Paint: red is the object, blue is not", "paint")
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
                with gr.Row():
                    remove = gr.Button("Remove all examples", size="sm")
                    sample = gr.Button("Try it with rendered pictures", size="sm", elem_id="sample")
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
        with gr.Row():
            earlier = gr.Button("Pictures before", size="sm", elem_id="earlier")
            where = gr.Markdown(elem_id="where")
            later = gr.Button("Pictures after", size="sm", elem_id="later")
        title = gr.Markdown("Choose an image above to correct its mask")
        fix = editor("Correct: red adds, blue takes away", "fix")
        with gr.Row():
            previous = gr.Button("Previous", elem_id="previous")
            following = gr.Button("Next", elem_id="next")
            save = gr.Button("Accept it, and next", elem_id="accept")
            use = gr.Button("Save it and use it as an example", variant="primary", elem_id="teach")
            again = gr.Button("Find it again", elem_id="again")
        gr.Markdown(keys.HELP)
        download = gr.Button("4. Export masks, table and COCO file")
        exported = gr.File(label="labels.zip", interactive=False, elem_id="exported")

        example_file.change(guarded(open_example), example_file, [paint, original, given], **hidden)
        for event in (mask_file.upload, *(box.submit for box in said)):
            event(guarded(open_mask), [mask_file, original, *said], [paint, given], **hidden)
        cleared = [paint, original, given, example_file, mask_file, examples]
        add.click(guarded(add_example), [paint, original, given, sparse], cleared, **hidden)
        remove.click(guarded(remove_examples), None, examples, **hidden)
        sample.click(guarded(show_sample), None, [examples, told], **hidden)
        listed = [overlays, names, first, where]
        for button in (find, again):
            button.click(
                guarded_turns(predict),
                [files, folder, order, names],
                [*listed, files, folder, told],
                concurrency_id="model",
                **hidden,
            )
        order.change(guarded(gallery), order, listed, **hidden)
        for button, by in ((earlier, -1), (later, 1)):
            button.click(guarded(turn(by)), [order, first], listed, **hidden)

        def choose_guarded(request: gr.Request, names, event: gr.SelectData):
            return guarded(choose)(request, names, event)

        open_one = [fix, chosen, title]
        overlays.select(choose_guarded, names, open_one, **hidden)
        for button, by in ((previous, -1), (following, 1)):
            button.click(guarded(step(by)), [chosen, order, names], [*open_one, *listed], **hidden)
        save.click(guarded(accept), [fix, chosen, order], [*open_one, *listed], **hidden)
        use.click(guarded(teach), [fix, chosen, order, first], [*listed, examples], **hidden)
        download.click(guarded(export), None, exported, **hidden)

        def load(bench):
            return *gallery(bench, ORDERS[0]), bench.examples()

        page.load(guarded(load), None, [*listed, examples], **hidden)
    return page


def by_field(message: str) -> str:
    """A message about a mask that names the page's fields in place of the command's flags."""
    for flag, (field, _) in FIELDS.items():
        message = message.replace(flag, f"in '{field}':")
    return message


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
    if not guard.is_local(host) and not people.logins:
        raise ValueError(
            f"--host {host} opens the page to others: name them with --logins FILE, lines of "
            "NAME:PASSWORD"
        )
    served = (people.owner.folder / SERVED).resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(served)
    os.environ["FORWARDED_ALLOW_IPS"] = ""  # uvicorn's: nobody speaks for another
    guard.no_network()
    import gradio as gr
    from starlette.middleware import Middleware

    with contextlib.ExitStack() as stack:
        stack.enter_context(locks.alone(people.owner.folder, "served by", "--folder"))
        empty(served)
        stack.callback(empty, served)
        guard.restrict_pillow()
        page = build(people, served).queue(default_concurrency_limit=1)
        shield = Middleware(
            guard.Guard, hosts=guard.known_hosts(host, more_hosts), people=people, served=served,
            quota=QUOTA, policy=POLICY,
        )  # fmt: skip
        plain_theme = gr.themes.Default(
            font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        )
        _, address, _ = page.launch(
            server_name=f"[{guard.plain(host)}]" if ":" in host else host, server_port=port or None,
            share=False, quiet=True, show_error=False, auth=list(people.logins.items()) or None,
            prevent_thread_lock=True, max_file_size=MAX_BYTES, strict_cors=True, ssr_mode=False,
            pwa=False, mcp_server=False, enable_monitoring=False, footer_links=[], theme=plain_theme,
            head=keys.HEAD,
            app_kwargs={"middleware": [shield]},
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
    guard.no_network()
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
