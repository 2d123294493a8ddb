"""The published test items of PASCAL-5i, from the files in tests/data/items."""

from pathlib import Path

from fss_jax.scoring import protocols

Item = tuple[str, int]


def oslsm_text(fold: int) -> str:
    """The items that OSLSM's loader keeps, `IMAGE CLASS` a line."""
    return (Path(__file__).parent / f"data/items/oslsm_fold{fold}.txt").read_text()


def oslsm_items(fold: int) -> list[Item]:
    lines = map(str.split, oslsm_text(fold).splitlines())
    return [(image_id, int(class_id)) for image_id, class_id in lines]


def hsnet_items(fold: int) -> list[Item]:
    """HSNet's items: OSLSM's but for those few that the protocol `hsnet` names."""
    hsnet, classes = protocols.get("hsnet"), range(5 * fold + 1, 5 * fold + 6)
    also = {item for item in hsnet.also if item[1] in classes}
    return sorted({*oslsm_items(fold), *also} - {*hsnet.without})
