"""What a Label Studio project asks for: the tags of its labeling configuration that masks go to."""

import re
from typing import NamedTuple
from xml.etree import ElementTree

MAX_BYTES = 2**20
# By the name of its tag; the type of a region is the same in lower case.
KINDS = ("BrushLabels", "PolygonLabels")


class Control(NamedTuple):
    """A labeling tag and the image that it is about.

    Attributes:
      name, image: the tags' own names, `from_name` and `to_name` of a region.
      kind: 'brushlabels' or 'polygonlabels'.
      labels: what may be predicted.
      key: of the task's data, where the image is named.
    """

    name: str
    image: str
    kind: str
    labels: tuple[str, ...]
    key: str


def read(text: object) -> Control:
    """The brush of a configuration, or its polygons where it has no brush.

    Raises:
      ValueError: no configuration, or one without either.
    """
    if not isinstance(text, str) or len(text) > MAX_BYTES or "<!" in re.sub("<!--", "", text):
        raise ValueError("the labeling configuration is no XML of at most a megabyte without DTD")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"the labeling configuration is no XML ({error})") from None
    images = {tag.get("name"): tag for tag in root.iter("Image")}
    for kind in KINDS:
        for tag in root.iter(kind):
            image = images.get(tag.get("toName"))
            labels = [label.get("value") for label in tag.iter("Label")]
            found = re.fullmatch(
                r"\$([\w.-]+)", (image.get("value") or "") if image is not None else ""
            )
            if found and tag.get("name") and any(labels):
                names = tuple(dict.fromkeys(filter(None, labels)))
                return Control(tag.get("name"), tag.get("toName"), kind.lower(), names, found[1])
    raise ValueError(
        "the labeling configuration has no BrushLabels (nor PolygonLabels) with Labels for an Image "
        "whose value is $NAME: choose the template 'Semantic Segmentation with Masks'"
    )
