"""Who sees what on the page: each person a folder of their own, unless the page is shared.

FOLDER itself is its owner's: the first who is named in the file of logins, or without one whoever
opened the address with the key that was printed. Every other login or browser has FOLDER/people/X.
"""

import copy
import hashlib
import http.cookies
import os
import re
import secrets
import stat
import threading
import urllib.parse
from pathlib import Path
from typing import Any

from fss_jax.labelling.segmenter import Segmenter
from fss_jax.labelling.workbench import Workbench

COOKIE, KEY = "fss_jax_person", ".key"
SHARED = "This page is shared: everybody who opens it sees and changes the same pictures."


class People:
    """The workbenches of all who open a page.

    Attributes:
      key: opens the owner's folder; '' where logins do, or where all is shared.
      logins: password by name, empty without.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        folder: Path,
        *,
        shared: bool = False,
        logins: dict[str, str] | None = None,
    ):
        self.owner = Workbench(segmenter, folder)
        self.shared, self.logins = shared, logins or {}
        self.key = "" if shared or self.logins else stored_key(folder / KEY)
        self._benches: dict[str, Workbench] = {}
        self._guard = threading.Lock()

    def bench(self, cookies: dict[str, str], login: str | None) -> Workbench:
        """The workbench of whoever sends these cookies, or is signed in by this name.

        Raises:
          ValueError: nobody is known by them.
        """
        if self.shared:
            return self.owner
        if self.logins:
            if login not in self.logins:
                raise ValueError("sign in first")
            return self.owner if login == next(iter(self.logins)) else self._bench(login)
        cookie = cookies.get(COOKIE, "")
        if secrets.compare_digest(cookie.encode(), self.key.encode()):
            return self.owner
        if not re.fullmatch(r"[0-9a-f]{32}", cookie):
            raise ValueError("the browser lost its cookie: load the page again")
        return self._bench(cookie)

    def _bench(self, person: str) -> Workbench:
        name = hashlib.sha256(person.encode()).hexdigest()[:16]  # says nothing of a cookie
        with self._guard:
            if name not in self._benches:
                # Compiled functions are shared, the supports are not.
                segmenter = copy.copy(self.owner.segmenter)
                self._benches[name] = Workbench(segmenter, self.owner.folder / "people" / name)
            return self._benches[name]

    def greet(self, headers: dict[bytes, str], query: str) -> list[tuple[bytes, bytes]]:
        """What the page's first answer says to a browser: who it is from now on."""
        if not self.key:
            return []
        given = urllib.parse.parse_qs(query).get("key", [""])[0]
        jar = http.cookies.SimpleCookie()
        try:
            jar.load(headers.get(b"cookie", ""))
        except http.cookies.CookieError:
            pass
        if secrets.compare_digest(given.encode(), self.key.encode()):
            value = self.key
        elif COOKIE in jar and re.fullmatch(r"[0-9a-f]{32}", jar[COOKIE].value):
            return []
        else:
            value = secrets.token_hex(16)
        said = f"{COOKIE}={value}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Strict"
        return [(b"set-cookie", said.encode())]


def stored_key(path: Path) -> str:
    """The folder's key, the same at every start; only this user may read it."""
    if path.is_file():
        key = path.read_text().strip()
        if re.fullmatch(r"[0-9a-f]{32}", key):
            return key
    key = secrets.token_hex(16)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, stat.S_IRUSR | stat.S_IWUSR)
    with os.fdopen(handle, "w") as file:
        file.write(key + "\n")
    return key


def read_logins(path: Path) -> dict[str, str]:
    """Password by name, from a file of NAME:PASSWORD lines.

    Raises:
      ValueError: a line that is none, a password of fewer than 8 characters, a file others can read.
    """
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        raise ValueError(f"{path} holds passwords and others can read it: chmod 600 {path}")
    logins = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.strip():
            name, colon, password = line.strip().partition(":")
            if not name or not colon or len(password) < 8:
                raise ValueError(
                    f"{path}:{number}: expected NAME:PASSWORD, the password of 8 characters or more"
                )
            logins[name] = password
    if not logins:
        raise ValueError(f"{path} names nobody; write lines of NAME:PASSWORD into it")
    return logins


def of(people: People, request: Any) -> Workbench:
    """The workbench of a `gradio.Request`."""
    return people.bench(dict(request.cookies or {}), getattr(request, "username", None))
