import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageFilter

from data_builders import masks
from data_builders.masks import Choice

ANY_MASK = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def gray(mask: np.ndarray, value: int) -> np.ndarray:
    return np.where(mask, value, 0).astype(np.uint8)


def color(mask: np.ndarray, rgb: tuple[int, int, int], background=(0, 0, 0)) -> np.ndarray:
    return np.where(mask[..., None], rgb, background).astype(np.uint8)


def palette(mask: np.ndarray, colors: list[int]) -> Image.Image:
    picture = Image.fromarray(mask.astype(np.uint8))
    picture.putpalette(colors)
    return picture


VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [0] * (252 * 3 - 3) + [224, 224, 192]
BLACK_FIRST_OR_LAST = [255, 255, 0, 0, 0, 0]  # entry 0 is yellow, entry 1 black
ENCODINGS = {
    "0/1": lambda m: Image.fromarray(gray(m, 1)),
    "0/255": lambda m: Image.fromarray(gray(m, 255)),
    "0/38": lambda m: Image.fromarray(gray(m, 38)),
    "1 bit": lambda m: Image.fromarray(m),
    "RGB 0/1": lambda m: Image.fromarray(color(m, (1, 1, 1))),
    "RGB 0/255": lambda m: Image.fromarray(color(m, (255, 255, 255))),
    "red": lambda m: Image.fromarray(color(m, (255, 0, 0))),
    "dark green": lambda m: Image.fromarray(color(m, (0, 70, 0))),
    "panoptic blue": lambda m: Image.fromarray(color(m, (0, 0, 1))),
    "opaque RGBA": lambda m: Image.fromarray(color(m, (255, 255, 255))).convert("RGBA"),
    "opaque RGBA 0/1": lambda m: Image.fromarray(color(m, (1, 1, 1))).convert("RGBA"),
    "palette": lambda m: palette(m, [0, 0, 0, 128, 0, 0]),
    "gray palette": lambda m: palette(m, [0, 0, 0, 255, 255, 255]),
    "palette that is all black": lambda m: palette(m, [0] * 768),
    "palette with black second": lambda m: palette(~m, BLACK_FIRST_OR_LAST),
    "16 bit": lambda m: Image.fromarray(gray(m, 255).astype(np.uint16) * 257),
    "16 bit 0/1": lambda m: Image.fromarray(m.astype(np.uint16)),
    "16 bit 0/1000": lambda m: Image.fromarray(m.astype(np.uint16) * 1000),
}


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("name", ENCODINGS)
@settings(max_examples=20, deadline=None)
@given(mask=ANY_MASK)
def test_every_encoding_gives_the_mask(name, mask):
    found = masks.read(png(ENCODINGS[name](mask)), "m.png")
    np.testing.assert_array_equal(found.label, mask)
    assert found.note == ""


@settings(max_examples=50, deadline=None)
@given(mask=ANY_MASK.filter(lambda m: m.any() and not m.all()), paint=st.sampled_from([0, 1, 255]))
def test_alpha_that_varies_is_the_mask(mask, paint):
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[..., :3] = paint
    rgba[..., 3] = gray(mask, 255)
    np.testing.assert_array_equal(masks.read_mask(Image.fromarray(rgba)), mask)


def blob(side: int = 64) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return np.hypot(y - side / 2, x - side / 2) < side / 3.3


def noise(side: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


def test_a_cut_out_is_what_is_opaque():
    """The photograph with an alpha channel, as background removers save it; dark parts count."""
    rgba = np.dstack([noise() // 4, gray(blob(), 255)])
    found = masks.read(png(Image.fromarray(rgba)))
    np.testing.assert_array_equal(found.label, blob())
    assert found.kind == "alpha" and not found.note


@pytest.mark.parametrize("bright", [(255, 255, 255), (255, 0, 0), (128, 0, 0), (0, 64, 200)])
@pytest.mark.parametrize("mode", ["blurred", "jpeg"])
def test_soft_edges_are_cut_at_half(bright, mode):
    picture = Image.fromarray(color(blob(), bright))
    if mode == "blurred":
        picture = picture.filter(ImageFilter.GaussianBlur(1))
        data = png(picture)
    else:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        data = buffer.getvalue()
    found = masks.read(data, "m.png")
    wrong = (found.label == 1) != blob()
    assert found.kind == "soft" and wrong.mean() < 0.01
    assert not (wrong & (np.hypot(*(np.mgrid[:64, :64] - 32)) < 17)).any()


def test_a_seam_of_one_gray_is_an_edge_and_an_area_of_it_a_level():
    seam = gray(blob(), 255)
    seam[31] = np.where(np.roll(blob()[31], 1) ^ blob()[31], 128, seam[31])
    assert masks.read(png(Image.fromarray(seam))).kind == "soft"
    area = gray(blob(), 255)
    area[:10, :10] = 128
    with pytest.raises(
        masks.Unclear, match=r"label map with the values 0 .*, 128 \(.*100 pixels\)"
    ):
        masks.read(png(Image.fromarray(area)))


def test_soft_levels_that_do_not_reach_black_and_white_are_cut_between_them_and_told():
    faint = Image.fromarray(gray(blob(), 60)).filter(ImageFilter.GaussianBlur(1))
    found = masks.read(png(faint), "m.png")
    assert ((found.label == 1) != blob()).mean() < 0.01
    assert "m.png has soft levels from 0 to 60: cut at 30" in found.note


def ids(*values: int) -> np.ndarray:
    """Squares of these values on 0."""
    label = np.zeros((30, 50), np.int64)
    for i, value in enumerate(values):
        label[5 + i : 15 + i, 10 * i : 10 * i + 8] = value
    return label


LABEL_MAPS = {
    "ids": (Image.fromarray(ids(1, 2).astype(np.uint8)), "1,2"),
    "ids with void": (Image.fromarray(ids(1, 2, 255).astype(np.uint8)), "1,2"),
    "gray levels": (Image.fromarray(ids(85, 170, 255).astype(np.uint8)), "85,170,255"),
    "16 bit": (Image.fromarray(ids(26001, 26002).astype(np.uint16)), "26001,26002"),
    "32 bit with -1": (Image.fromarray(ids(3, 7, -1).astype(np.int32)), "3,7"),
    "palette": (palette(ids(1, 3), VOC), "1,3"),
    "palette with void": (palette(ids(1, 3, 255), VOC), "1,3"),
    "ids without 0": (Image.fromarray((ids(1, 2) + 1).astype(np.uint8)), "1-3"),
}


@pytest.mark.parametrize("name", LABEL_MAPS)
def test_a_label_map_is_refused_with_its_values_and_the_flag(name):
    picture, flag = LABEL_MAPS[name]
    with pytest.raises(masks.Unclear, match="label map") as caught:
        masks.read(picture, "m.png")
    message = str(caught.value)
    assert f"--mask_values {flag} (all of them)" in message and "\n" not in message
    assert message.startswith("m.png") and "pixels)" in message
    chosen = masks.read(picture, "m.png", choice=Choice.parse(values=flag.split(",")[0]))
    assert 0 < (chosen.label == 1).sum() < (masks.read(
        picture, "m.png", choice=Choice.parse(values=flag)
    ).label == 1).sum() or "-" in flag  # fmt: skip


def test_chosen_values_void_and_colors():
    picture = Image.fromarray(ids(1, 2, 9, 255).astype(np.uint8))
    label = masks.read(picture, choice=Choice.parse("1-3", "255,9")).label
    assert (label == 1).sum() == 160 and (label == 255).sum() == 160
    with pytest.raises(ValueError, match="nothing of --mask_values 5: it has 0 "):
        masks.read(picture, choice=Choice.parse("5"))
    map_ = Image.fromarray(
        color(blob(), (48, 112, 32)) + color(~blob() & (noise()[..., 0] > 128), (176, 112, 32))
    )
    with pytest.raises(
        masks.Unclear, match=r"several colors: .*\(48,112,32\).*--mask_color '.*;.*'"
    ):
        masks.read(map_)
    np.testing.assert_array_equal(
        masks.read(map_, choice=Choice.parse(color="48,112,32")).label, blob()
    )
    both = masks.read(map_, choice=Choice.parse(color="48,112,32;176,112,32")).label
    np.testing.assert_array_equal(both, np.asarray(map_).any(-1))
    with pytest.raises(ValueError, match="--mask_color R,G,B"):
        masks.read(map_, choice=Choice.parse("1"))


@pytest.mark.parametrize(
    "flags",
    [
        dict(values="a"),
        dict(color="1,2"),
        dict(color="1,2,300"),
        dict(values="3-1"),
        dict(void="-"),
    ],
)
def test_wrong_choices_are_one_line(flags):
    with pytest.raises(ValueError, match="expected|no range"):
        Choice.parse(**flags)


def test_colors_need_a_black_background():
    picture = Image.fromarray(color(blob(), (200, 30, 30), (255, 255, 255)))
    with pytest.raises(masks.Unclear, match="no black background.*--mask_color 200,30,30"):
        masks.read(picture)
    voc = np.array(color(blob(), (128, 0, 0)))
    voc[:3] = 224, 224, 192  # the border's color in pictures of VOC's masks
    label = masks.read(Image.fromarray(voc)).label
    assert (label[:3] == 255).all() and (label[3:] == blob()[3:]).all()


def test_what_looks_inverted_or_has_no_zero_is_told():
    found = masks.read(Image.fromarray(gray(~blob(), 255)), "m.png")
    np.testing.assert_array_equal(found.label, ~blob())
    assert "m.png may be inverted" in found.note and "--mask_values 0" in found.note
    np.testing.assert_array_equal(
        masks.read(Image.fromarray(gray(~blob(), 255)), choice=Choice.parse("0")).label, blob()
    )
    found = masks.read(Image.fromarray(np.where(blob(), 200, 100).astype(np.uint8)), "m.png")
    np.testing.assert_array_equal(found.label, blob())
    assert "200 is taken for the object" in found.note and "--mask_values 100" in found.note


def test_a_photograph_is_no_mask():
    flat = np.array(noise())
    flat[:30] = 200, 220, 250  # a sky
    for rgb in (noise(), flat, noise()[..., 0]):
        with pytest.raises(masks.Unclear, match="m.png looks like a photograph") as caught:
            masks.read(png(Image.fromarray(rgb)), "m.png")
        assert caught.value.kind == "photograph"


def test_a_binary_image_stays_binary_however_little_is_set():
    mask = np.zeros((9, 9), bool)
    assert not masks.read_mask(Image.fromarray(mask)).any()
    mask[4, 4] = True
    for value in (1, 2, 255):
        np.testing.assert_array_equal(masks.read_mask(Image.fromarray(gray(mask, value))), mask)


def test_void_is_undecided():
    label = np.array([[0, 1], [255, 1]], np.uint8)
    pictures = [label, palette(label, VOC), palette(label, [*range(9), *[7, 8, 9] * 253])]
    pictures += [np.where(label == 255, 65535, label).astype(np.uint16)]
    pictures += [np.where(label == 255, -1, label).astype(np.int32)]
    for picture in pictures:
        picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        found = masks.read(picture)
        np.testing.assert_array_equal(found.label, label)
        assert not found.note
    one = masks.read(Image.fromarray(ids(15, 255).astype(np.uint8)), "m.png")
    assert (one.label == 1).sum() == 80 == (one.label == 255).sum()
    assert "15 is taken for the object, 255 for undecided" in one.note


def test_object_that_fills_a_palette_image():
    full = np.ones((3, 3), bool)
    assert masks.read_mask(palette(full, [0, 0, 0, 64, 0, 0])).all()
    assert masks.read_mask(palette(~full, [0, 0, 0, 64, 0, 0])).sum() == 0


def test_masks_of_one_class_that_mark_different_values_are_ids():
    def named(*values):
        for value in values:
            yield f"{value}.png", masks.read(Image.fromarray(ids(value).astype(np.uint8)))

    masks.same_value(named(1, 255, 1))
    masks.same_value(named(3, 3))
    with pytest.raises(
        masks.Unclear, match=r"3.png marks the value 3, 1.png the value 1.*--mask_values 1,3"
    ):
        masks.same_value(named(1, 1, 3))


@settings(max_examples=200, deadline=None)
@given(
    values=hnp.arrays(
        st.sampled_from([np.uint8, np.uint16, np.int32, np.float32]),
        st.one_of(
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
            st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)),
        ),
    )
)
def test_any_values_are_read_or_refused_in_one_line(values):
    if values.ndim == 3:
        values = np.frombuffer(values.tobytes()[: values.size], np.uint8).reshape(values.shape)
    try:
        found = masks.read(Image.fromarray(values), "m.png")
    except ValueError as error:
        assert str(error).startswith("m.png") and "\n" not in str(error)
    else:
        assert found.label.shape == values.shape[:2] and set(np.unique(found.label)) <= {0, 1, 255}


def test_real_masks_of_both_encodings(shared):
    """eiffel_tower is 0/1 RGB, african_elephant RGBA with alpha 255 and soft edges."""
    folder = shared / "data/fss1000_subset/fewshot_data"
    for path in sorted(folder.glob("*/*.png")):
        raw = np.asarray(Image.open(path))
        binary = path.parent.name == "eiffel_tower"
        expected = (
            raw.mean(-1) > 0.5 if binary else np.asarray(Image.open(path).convert("L")) >= 128
        )
        found = masks.read(path)
        np.testing.assert_array_equal(found.label == 1, expected)
        assert 0.01 < expected.mean() < 0.5
        assert found.kind == ("binary" if binary else "soft") and not found.note
    for path in sorted(folder.glob("*/*.jpg")):
        with pytest.raises(masks.Unclear, match="photograph"):
            masks.read(path)


def test_real_voc_masks(shared):
    """Palettes with a void border: one class is read, several are refused by name."""
    folder = shared / "data/voc2012_subset/VOCdevkit/VOC2012/SegmentationClassAug"
    read = refused = 0
    for path in sorted(folder.glob("*.png"))[:30]:
        index = np.asarray(Image.open(path))
        present = set(np.unique(index).tolist()) - {0, 255}
        if len(present) == 1:
            found = masks.read(path)
            np.testing.assert_array_equal(found.label == 1, np.isin(index, list(present)))
            np.testing.assert_array_equal(found.label == 255, index == 255)
            read += 1
        else:
            with pytest.raises(masks.Unclear, match="label map"):
                masks.read(path)
            refused += 1
    assert read and refused
