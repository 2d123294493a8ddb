"""What a backend of Label Studio keeps and answers, without the network: supports in, masks out.

FOLDER/project_ID_TIME/T.json, T.png   an annotated task as Label Studio's export has it, and its image

So `fss label --support FOLDER/project_ID_TIME` goes on from the same annotations.
"""

import collections
import copy
import datetime
import hashlib
import json
import logging
import re
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fss_jax.labelling import supports
from fss_jax.labelling.formats import label_studio
from fss_jax.labelling.prediction import Prediction
from fss_jax.labelling.segmenter import Segmenter
from fss_jax.labelling.studio import control
from fss_jax.labelling.studio.control import Control
from fss_jax.labelling.studio.images import MAX_JSON, Images
from fss_jax.runtime import files

TASKS = 10_000  # annotated ones of a project
PROJECTS = 4  # whose supports stay on the device
QUICK, PATIENT = (
    2.0,
    30.0,
)  # seconds for Label Studio's export; its own patience with `/setup` is 3 s
_log = logging.getLogger(__name__)


class Backend:
    """Answers what Label Studio asks.

    Args:
      folder: of the supports.
      seconds: of a call of `predict`; Label Studio waits for 100. What is not done by then has no
        prediction yet, and the next call goes on.
    """

    def __init__(
        self, segmenter: Segmenter, folder: Path, images: Images, seconds: int | float = 80
    ):
        self.folder, self.images, self.seconds = folder, images, seconds
        self._segmenter = segmenter
        self._base = segmenter.fingerprint()
        self._shown: collections.OrderedDict[Path, tuple[str, Segmenter]] = (
            collections.OrderedDict()
        )
        # A webhook is answered within Label Studio's second, whatever the model does meanwhile.
        self._model, self._disk = threading.Lock(), threading.RLock()

    def setup(self, asked: dict) -> dict:
        """`/setup`: whether the project's configuration fits, and the version of what would answer.

        Raises:
          ValueError: it does not.
        """
        control.read(asked.get("schema"))
        place = self._project(asked.get("project"))
        studio = self.images.studio
        if studio is not None and not studio.key and isinstance(asked.get("access_token"), str):
            studio.key = asked["access_token"]
        self._refresh(place, QUICK)
        return {"model_version": self.version(place)}

    def predict(self, asked: dict) -> dict:
        """`/predict`: for each task its prediction, or [] where there is none.

        Raises:
          ValueError: no such project or configuration; supports that cannot be used.
        """
        end = time.monotonic() + self.seconds
        wanted = control.read(asked.get("label_config"))
        place = self._project(asked.get("project"))
        tasks = asked.get("tasks")
        if not isinstance(tasks, list):
            raise ValueError("tasks are no list")
        if not self._refresh(place, PATIENT):
            for task in tasks:
                self._keep(place, task, wanted.key)
        with self._model:
            version, segmenter = self._shown_segmenter(place)
            if segmenter is None:
                return {"results": [[] for _ in tasks], "model_version": version}
            results = self._predictions(segmenter, tasks, wanted, end)
        for result in filter(None, results):
            result["model_version"] = version
        left = sum(not result for result in results)
        _log.info("%d of %d tasks predicted", len(tasks) - left, len(tasks))
        return {"results": results, "model_version": version}

    def webhook(self, told: dict) -> dict:
        """`/webhook`: an annotation was made, changed or deleted."""
        action = told.get("action")
        project = told.get("project")
        if not isinstance(project, dict) or action in ("START_TRAINING", "PROJECT_UPDATED"):
            return {}
        place = self._project(_uid(project))
        if action in ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_CREATED"):
            both = told.get("task"), told.get("annotation")
            many = zip(*both, strict=False) if all(isinstance(x, list) for x in both) else [both]
            for task, annotation in many:
                self._add(place, task, annotation)
        elif action in ("ANNOTATIONS_DELETED", "TASKS_DELETED"):
            key = "annotations" if action == "ANNOTATIONS_DELETED" else "tasks"
            entries = told.get(key)
            entries = entries if isinstance(entries, list) else []
            gone = {e["id"] for e in entries if isinstance(e, dict) and _is_number(e.get("id"))}
            self._forget(place, gone, tasks=key == "tasks")
        return {}

    def version(self, place: Path) -> str:
        """Of model and annotations: Label Studio asks again where it has none of this version."""
        digest = hashlib.sha256(self._base.encode())
        with self._disk:
            for path in sorted(place.glob("*.json")):
                digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return f"fss_jax {digest.hexdigest()[:12]}"

    def _project(self, uid: Any) -> Path:
        """A project's folder, of 'ID.SECONDS'."""
        if not isinstance(uid, str) or not re.fullmatch(r"\d{1,12}(\.\d{1,12})?", uid, re.ASCII):
            raise ValueError(f"project {str(uid)[:40]!r}: expected its number and when it was made")
        return self.folder / f"project_{uid.replace('.', '_')}"

    def _refresh(self, place: Path, seconds: int | float) -> bool:
        """Takes over all annotations that Label Studio has, if it lets us; else what it told stays."""
        studio = self.images.studio
        if studio is None or not studio.key:
            return False
        number = place.name.split("_")[1]
        try:
            tasks = json.loads(
                studio.get(f"/api/projects/{number}/export", MAX_JSON, seconds, exportType="JSON")
            )
            if not isinstance(tasks, list):
                raise ValueError("its export is no list of tasks")
        except (ValueError, RecursionError) as error:
            _log.warning("annotations are taken as Label Studio told them: %s", error)
            return False
        with self._disk:
            kept = {self._keep(place, task, "") for task in tasks[:TASKS]}
            for path in place.glob("*.json"):
                if path.stem not in kept:
                    _remove(path)
        return True

    def _keep(self, place: Path, task: Any, key: str) -> str:
        """Stores a task with its annotations, if it has one; returns its number."""
        if not isinstance(task, dict) or not _is_number(task.get("id")):
            return ""
        done = [_slim(a) for a in task.get("annotations") or [] if _counts(a)]
        path = place / f"{task['id']}.json"
        if not done or not isinstance(task.get("data"), dict):
            return ""
        try:
            address = label_studio.image_address(task["data"], key)
        except ValueError as error:
            _log.warning("task %d is left out: %s", task["id"], error)
            return ""
        content = {
            "id": task["id"],
            "data": {"image": f"{task['id']}.png", "source": address},
            "annotations": sorted(done, key=lambda a: a["id"]),
        }
        with self._disk:
            old = json.loads(path.read_text()) if path.is_file() else None
            if old is None and len(list(place.glob("*.json"))) >= TASKS:
                _log.warning(
                    "%s has %d annotated tasks: task %d is left out", place.name, TASKS, task["id"]
                )
                return ""
            if old is not None and old["data"] != content["data"]:
                path.with_suffix(".png").unlink(missing_ok=True)  # of the image that it had
            if old != content:
                files.write_text(path, json.dumps(content))
        return str(task["id"])

    def _add(self, place: Path, task: Any, annotation: Any) -> None:
        """Adds an annotation to those of its task that are stored, or replaces it."""
        if not isinstance(task, dict) or not _counts(annotation):
            return
        with self._disk:
            path = place / f"{task.get('id')}.json"
            stored = _is_number(task.get("id")) and path.is_file()
            others = json.loads(path.read_text())["annotations"] if stored else []
            others = [other for other in others if other["id"] != annotation["id"]]
            self._keep(place, {**task, "annotations": [*others, annotation]}, "")

    def _forget(self, place: Path, gone: set, *, tasks: bool) -> None:
        with self._disk:
            for path in place.glob("*.json"):
                content = json.loads(path.read_text())
                if tasks:
                    kept = content["annotations"] if content["id"] not in gone else []
                else:
                    kept = [a for a in content["annotations"] if a["id"] not in gone]
                if not kept:
                    _remove(path)
                elif len(kept) < len(content["annotations"]):
                    files.write_text(path, json.dumps({**content, "annotations": kept}))

    def _shown_segmenter(self, place: Path) -> tuple[str, Segmenter | None]:
        """The project's version and the model that was shown its annotations; None without any."""
        version = self.version(place)
        known = self._shown.get(place)
        if known is not None and known[0] == version:
            self._shown.move_to_end(place)
            return known
        shown = sorted(place.glob("*.json"))
        if not shown:
            _log.info("no completed annotation yet: submit a few, then ask again")
            return version, None
        for path in shown:
            self._fetch(path)
        try:
            found = supports.read(place)
        except (ValueError, FileNotFoundError) as error:
            _log.warning("%s", error)
            return version, None
        segmenter = copy.copy(
            self._segmenter
        )  # compiled functions are shared, the supports are not
        segmenter.set_support(found)
        self._shown[place] = (version, segmenter)
        while len(self._shown) > PROJECTS:
            self._shown.popitem(last=False)
        return version, segmenter

    def _fetch(self, path: Path) -> None:
        """Stores the image of a task beside it, once."""
        source = json.loads(path.read_text())["data"]["source"]
        image = path.with_suffix(".png")
        if image.is_file():
            return
        try:
            rgb = self.images.read(source)
        except (ValueError, OSError) as error:
            _log.warning("task %s is left out: %s", path.stem, " ".join(str(error).split()))
            return
        with files.atomic(image) as temporary:
            Image.fromarray(rgb).save(temporary, "PNG", compress_level=1)

    def _predictions(
        self, segmenter: Segmenter, tasks: Sequence[Any], wanted: Control, end: float
    ) -> list[dict | list]:
        waiting: collections.deque[int] = collections.deque()
        results: list[dict | list] = [[] for _ in tasks]

        def readable() -> Iterator[np.ndarray]:
            for i, task in enumerate(tasks):
                if time.monotonic() > end:
                    _log.info("%d tasks are left for the next call", len(tasks) - i)
                    return
                try:
                    rgb = self.images.read(label_studio.image_address(task["data"], wanted.key))
                except (ValueError, OSError, KeyError, TypeError) as error:
                    _log.warning("a task is left out: %s", " ".join(str(error).split()))
                    continue
                waiting.append(i)
                yield rgb

        for found in segmenter.stream(readable()):
            results[waiting.popleft()] = _prediction(found, wanted)
        return results


def _prediction(found: Prediction, wanted: Control) -> dict:
    """A prediction as Label Studio takes it: regions, and the least expected IoU as the score.

    Without a calibration the score is the confidence, which orders the images as well.
    """
    regions, scores = [], []
    for name in wanted.labels:
        mask = found.masks.get(name)
        if mask is None or not mask.any():
            continue
        expected = found.expected_iou(name)
        scores.append(round(found.confidence(name) if expected is None else expected, 4))
        for region in label_studio.regions(
            name, mask, wanted.name, wanted.image, polygons=wanted.kind == "polygonlabels"
        ):
            regions.append({"id": f"r{len(regions)}", "score": scores[-1], **region})
    return {"result": regions, "score": min(scores, default=0.0)}


def _is_number(value: Any) -> bool:
    """Whether something is an id of Label Studio's: it becomes a file's name."""
    return type(value) is int and 0 <= value < 10**12


def _counts(annotation: Any) -> bool:
    """Whether an annotation is one that a person completed."""
    return (
        isinstance(annotation, dict)
        and _is_number(annotation.get("id"))
        and isinstance(annotation.get("result"), list)
        and not annotation.get("was_cancelled")
    )


def _slim(annotation: dict) -> dict:
    return {"id": annotation["id"], "result": annotation["result"]}


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(".png").unlink(missing_ok=True)


def _uid(project: dict) -> str:
    """A project as `/setup` and `/predict` name it: its number and the second when it was made."""
    try:
        made = datetime.datetime.fromisoformat(str(project["created_at"]).replace("Z", "+00:00"))
        return f"{project['id']}.{int(made.timestamp())}"
    except (KeyError, ValueError, OverflowError):
        raise ValueError("a project without its number and when it was made") from None
