"""docs/add-a-label-format.md performed: its file, put beside the others, is found, writes and reads."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fss_jax.labelling import convert, formats
from fss_jax.labelling.annotations import ImageMasks, Object

PAGE = Path(__file__).resolve().parents[2] / "docs/add-a-label-format.md"


@pytest.fixture
def with_polygon_list(tmp_path, monkeypatch):
    found = re.findall(
        r'```python title="fss_jax/labelling/formats/polygon_list.py"\n(.*?)```',
        PAGE.read_text(),
        re.S,
    )
    assert len(found) == 1
    folder = tmp_path / "formats"
    folder.mkdir()
    (folder / "polygon_list.py").write_text(found[0])
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(folder)])
    return tmp_path


def test_the_page_s_format_is_found_and_gives_the_same_masks(with_polygon_list):
    assert "polygon_list" in formats.names()
    place = with_polygon_list / "labels"
    place.mkdir()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(place / "a.png")
    cat, dog = np.zeros((2, 20, 30), bool)
    cat[3:12, 4:9] = cat[14:18, 20:29] = dog[5:9, 12:17] = True
    things = (Object("cat", cat), Object("dog", dog))
    written = ImageMasks("a.png", 20, 30, {"cat": cat, "dog": dog}, things)
    formats.get("polygon_list").write(place, [written])
    ((module, path),) = formats.find(place)
    assert (module.TITLE, path.name) == ("list of polygons", "polygons.json")
    read, told = convert.read(place)
    (image,) = read
    assert image.masks.keys() == {"cat", "dog"} and not told
    np.testing.assert_array_equal(image.masks["cat"], cat)
    np.testing.assert_array_equal(image.masks["dog"], dog)
