"""The images of tasks: from folders of this computer, or from one Label Studio, and nowhere else.

A task says where its image is, and whoever may edit tasks could name any file or any server. So a
path is looked up below the two folders that Label Studio itself serves, or asked of the one address
that `fss serve --studio` names, and only for what lies there as a picture.
"""

import threading
import time
import urllib.parse
from pathlib import Path
from typing import Any

import numpy as np
import requests
from jaxtyping import UInt8

from data_builders import pictures
from fss_jax.labelling.workbench import MAX_BYTES, MAX_PIXELS, read_upload

UPLOAD, LOCAL = "/data/upload/", "/data/local-files/"
MAX_JSON = 2**28  # bytes of an export


class Studio:
    """One Label Studio and what a user's token opens there.

    Args:
      address: as http://localhost:8080; a path in it is kept.
      key: a personal access token, or a legacy one; without it, the one that `/setup` sends.
    """

    def __init__(self, address: str, key: str = ""):
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ValueError(
                f"--studio {address}: expected an address such as http://localhost:8080"
            )
        self.address = address.rstrip("/")
        self.key = key
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no .netrc decide who gets the token
        self._access = ""
        self._guard = threading.Lock()

    def get(self, path: str, limit: int, seconds: int | float, **query: Any) -> bytes:
        """The body at a path.

        Raises:
          ValueError: refused, redirected, too large, or not to be reached; in one line.
        """
        for fresh in (False, True):
            try:
                with self._session.get(
                    self.address + path, params=query or None, headers=self._headers(fresh, seconds),
                    timeout=seconds, allow_redirects=False, stream=True,
                ) as answer:  # fmt: skip
                    if answer.status_code == 401 and not fresh and "." in self.key:
                        continue  # an access token lives for minutes
                    if answer.status_code != 200:
                        raise ValueError(self._refused(path, answer.status_code))
                    return self._body(answer, path, limit, seconds)
            except (requests.RequestException, OSError) as error:
                raise ValueError(
                    f"Label Studio at {self.address} does not answer ({type(error).__name__})"
                ) from None
        raise ValueError(self._refused(path, 401))

    def _body(self, answer: Any, path: str, limit: int, seconds: int | float) -> bytes:
        body, end = bytearray(), time.monotonic() + seconds
        while chunk := answer.raw.read(2**20):  # as it came: nothing unpacks beyond the limit
            body += chunk
            if len(body) > limit or time.monotonic() > end:
                raise ValueError(f"{path[:200]} takes more than {limit} bytes or {seconds} s")
        return bytes(body)

    def _refused(self, path: str, status: int) -> str:
        said = f"Label Studio answers {status} to {path[:200]}"
        if status in (401, 403):
            said += (
                ": give a token of a user who sees the project, --api_key FILE "
                "(Account & Settings, Personal Access Token)"
            )
        return said

    def _headers(self, fresh: bool, seconds: int | float) -> dict[str, str]:
        plain = {"Accept-Encoding": "identity"}
        if not self.key:
            return plain
        if self.key.count(".") != 2:
            return {**plain, "Authorization": f"Token {self.key}"}
        with self._guard:  # a personal access token buys one that opens things
            if fresh or not self._access:
                answer = self._session.post(
                    f"{self.address}/api/token/refresh/", json={"refresh": self.key},
                    timeout=seconds, allow_redirects=False,
                )  # fmt: skip
                if answer.status_code != 200:
                    raise ValueError(self._refused("/api/token/refresh/", 401))
                self._access = str(answer.json().get("access", ""))
            return {**plain, "Authorization": f"Bearer {self._access}"}


class Images:
    """Reads the image that a task names.

    Args:
      studio: where what is in no folder is asked for; None: nowhere.
      uploads: what Label Studio serves as /data/upload/.
      local_files: what it serves as /data/local-files/?d=.
    """

    def __init__(
        self, studio: Studio | None, uploads: Path | None = None, local_files: Path | None = None
    ):
        self.studio = studio
        self._folders = {UPLOAD: uploads, LOCAL: local_files}
        for folder in filter(None, self._folders.values()):
            if not folder.is_dir():
                raise FileNotFoundError(f"no folder {folder}; Label Studio serves images from it")

    def read(self, address: object) -> UInt8[np.ndarray, "h w 3"]:
        """An image as RGB, upright.

        Raises:
          ValueError, FileNotFoundError: an address elsewhere; no picture; more bytes or pixels than
            `workbench` allows.
        """
        if not isinstance(address, str) or len(address) > 4096 or "\0" in address:
            raise ValueError("a task names no image")
        prefix, inner, whole = self._split(address)
        folder = self._folders[prefix]
        if folder is not None:
            path = (folder / inner).resolve()
            if not path.is_relative_to(folder.resolve()) or not path.is_file():
                raise FileNotFoundError(f"{inner[:200]} is no file in {folder}")
            return read_upload(path, path.name)
        if self.studio is None:
            raise ValueError(f"{whole[:200]}: no folder is given for it, and no Label Studio")
        data = self.studio.get(whole, MAX_BYTES, 30)
        return pictures.to_rgb(pictures.open_picture(data, inner[:200], MAX_PIXELS), inner[:200])

    def _split(self, address: str) -> tuple[str, str, str]:
        """(which of the two, path below it, path to ask for)."""
        parts = urllib.parse.urlsplit(address)
        known = urllib.parse.urlsplit(self.studio.address if self.studio else "")
        path = parts.path
        if parts.scheme or parts.netloc:
            if (parts.scheme, parts.netloc) != (known.scheme, known.netloc):
                raise ValueError(
                    f"{address[:200]} is not at Label Studio ({known.netloc or 'none given'}); only "
                    "uploaded pictures and those of its local storage are read"
                )
            path = path.removeprefix(known.path)
        if path.startswith(UPLOAD):
            inner, query = urllib.parse.unquote(path.removeprefix(UPLOAD)), ""
            prefix = UPLOAD
        elif path.rstrip("/") + "/" == LOCAL:
            inner = urllib.parse.parse_qs(parts.query).get("d", [""])[0]
            prefix, query = LOCAL, "?d=" + urllib.parse.quote(inner)
        else:
            raise ValueError(
                f"{address[:200]} is neither {UPLOAD} nor {LOCAL}: import the pictures into Label "
                "Studio, or add them as its local storage"
            )
        if (
            not inner
            or inner.startswith(("/", "\\"))
            or ".." in inner.replace("\\", "/").split("/")
        ):
            raise ValueError(f"{address[:200]} leads out of its folder")
        whole = prefix + (query or urllib.parse.quote(inner))
        return prefix, inner, whole
