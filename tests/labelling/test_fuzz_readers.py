"""Whatever a file of masks, annotations or images holds: a result or one line, soon, in little memory.

Mutations of valid files, by hypothesis; FSS_FUZZ=N tries N of each (CI: `EXAMPLES`; once for an hour).
"""

import io
import json
import logging
import os
import resource
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data_builders import masks, pictures
from fss_jax.labelling import convert, formats, supports
from fss_jax.labelling.annotations import ImageMasks
from fss_jax.labelling.annotations import Object as Thing

pytestmark = pytest.mark.slow  # CI runs it, `make test` leaves it out

EXAMPLES = int(os.environ.get("FSS_FUZZ", 25))
SECONDS, BYTES = 20, 2**30  # of one file below a megabyte
RGB = np.random.default_rng(0).integers(0, 256, (12, 14, 3)).astype(np.uint8)
MASK = np.zeros((12, 14), bool)
MASK[2:9, 3:11] = True
FUZZ = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    picture = {
        "palette": lambda: Image.fromarray(RGB).quantize(8),
        "gray": lambda: Image.fromarray(MASK.astype(np.uint8)),
        "deep": lambda: Image.fromarray(RGB[..., 0].astype(np.uint16) * 300),
        "alpha": lambda: Image.fromarray(np.dstack([RGB, MASK * np.uint8(255)])),
    }.get(kind, lambda: Image.fromarray(RGB))()
    name = kind if kind in ("JPEG", "TIFF", "BMP", "GIF", "WEBP", "AVIF", "PPM") else "PNG"
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(buffer, name, **({"exif": exif} if name == "JPEG" else {}))
    return buffer.getvalue()


KINDS = (
    "JPEG",
    "TIFF",
    "BMP",
    "GIF",
    "WEBP",
    "AVIF",
    "PPM",
    "RGB",
    "palette",
    "gray",
    "deep",
    "alpha",
)
FILES = {kind: encoded(kind) for kind in KINDS}
EDITS = st.lists(
    st.tuples(st.integers(0, 10**6), st.sampled_from(["set", "cut", "drop", "double", "insert"]),
              st.binary(min_size=1, max_size=6)), min_size=1, max_size=5,
)  # fmt: skip


def edited(data: bytes, edits) -> bytes:
    for place, kind, some in edits:
        at = place % max(len(data), 1)
        data = {
            "set": data[:at] + some + data[at + len(some) :],
            "cut": data[:at],
            "drop": data[:at] + data[at + len(some) :],
            "double": data[:at] + data[at : at + 40] * 2 + data[at + 40 :],
            "insert": data[:at] + some + data[at:],
        }[kind]
    return data


def allowed(run) -> object:
    """Runs a reader: its result, or None for an error of one line that is no Python's."""
    start = time.monotonic()
    try:
        return run()
    except (ValueError, OSError) as error:
        text = str(error)
        assert "\n" not in text and text.strip() and type(error) in EXPECTED, repr(error)
    finally:
        assert time.monotonic() - start < SECONDS
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < BASE + BYTES


EXPECTED = (ValueError, FileNotFoundError, masks.Unclear, pictures.TooLarge)
BASE = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("kind", KINDS)
@FUZZ
@given(edits=EDITS)
def test_pictures_and_masks(kind, edits):
    data = edited(FILES[kind], edits)
    for read in (
        lambda: pictures.to_rgb(pictures.open_picture(data, "x", 10**7), "x"),
        lambda: masks.read(data, "x", 10**7).label,
    ):
        found = allowed(read)
        assert found is None or found.dtype == np.uint8


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A folder of each format, with its image."""
    image = ImageMasks("a.png", 12, 14, {"cat": MASK}, (Thing("cat", MASK),))
    places = {}
    for name in formats.names():
        places[name] = tmp_path_factory.mktemp(name)
        Image.fromarray(RGB).save(places[name] / "a.png")
        formats.get(name).write(places[name], [image], polygons=True)
    return places


@pytest.mark.parametrize("name", [n for n in formats.names() if n != "png"])
@FUZZ
@given(edits=EDITS, pick=st.integers(0, 9))
def test_annotation_files(name, samples, edits, pick):
    logging.getLogger("fss_jax").setLevel(logging.CRITICAL)
    place = samples[name]
    every = sorted(p for p in place.rglob("*") if p.is_file() and p != place / "a.png")
    path = every[pick % len(every)]
    original = path.read_bytes()
    try:
        path.write_bytes(edited(original, edits))
        allowed(lambda: convert.read(place, name, place))
        allowed(lambda: convert.read(place))
        allowed(lambda: supports.read(place))
    finally:
        path.write_bytes(original)


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8),
        st.sampled_from(["polygon", "mask", "rectangle", "circle", "a.png", "cat", 1, 12, 14, -1]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=8), st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)  # fmt: skip


def slots(value, path=()):
    """The places of all values inside a JSON value."""
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in list(items)[:30]:
        yield from slots(inner, (*path, key))


@pytest.mark.parametrize("name", ["coco", "labelme", "label_studio"])
@FUZZ
@given(place=st.integers(0, 10**6), value=VALUES, remove=st.booleans())
def test_json_values_of_any_kind_anywhere(name, samples, place, value, remove):
    folder = samples[name]
    (path,) = folder.glob("*.json")
    original = path.read_text()
    content = json.loads(original)
    every = list(slots(content))[1:]
    *way, last = every[place % len(every)]
    target = content
    for key in way:
        target = target[key]
    if remove:
        del target[last]
    else:
        target[last] = value
    try:
        path.write_text(json.dumps(content))
        allowed(lambda: convert.read(folder, name))
        allowed(lambda: convert.read(folder, "", folder))
        allowed(lambda: supports.read(folder))
    finally:
        path.write_text(original)


@FUZZ
@given(
    labels=st.lists(st.sampled_from(["polygon", "box", "ellipse", "mask", "points", "x"]), max_size=3),
    fields=st.dictionaries(
        st.sampled_from(["label", "points", "rle", "left", "top", "width", "height", "cx", "cy", "rx",
                         "ry", "xtl", "ytl", "xbr", "ybr", "rotation", "group_id"]),
        st.one_of(st.text(st.characters(codec="ascii", exclude_characters="<&\"\0"), max_size=9),
                  st.sampled_from(["0", "5", "1e400", "nan", "1,2;3,4;5,0", "3,4", "99999999999999"])),
    ),
)  # fmt: skip
def test_xml_of_any_values(labels, fields, tmp_path_factory):
    path = tmp_path_factory.mktemp("xml") / "annotations.xml"
    attributes = " ".join(f'{k}="{v}"' for k, v in fields.items())
    shapes = "".join(f"<{tag} {attributes}/>" for tag in labels)
    path.write_text(
        f'<annotations><image name="a.png" width="14" height="12">{shapes}</image></annotations>'
    )
    allowed(lambda: convert.read(path))
