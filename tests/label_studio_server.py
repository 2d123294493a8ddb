"""The real Label Studio as tests need it: started, signed in, asked by its API. `make studio-test`."""

import functools
import os
import re
import secrets
import socket
import subprocess
import time
from pathlib import Path

import pytest
import requests

PROGRAM = os.environ.get("LABEL_STUDIO", "")
USER, PASSWORD = "ann@example.com", "correct horse battery"
CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="tag" toName="image"><Label value="thing" background="#ff3300"/></BrushLabels>
</View>"""
START = 600  # seconds: its database is made first


class LabelStudio:
    """A server on this machine with a database of its own, and a person signed in.

    It may call this computer (both protections off), and it asks and tells nobody outside.
    """

    def __init__(self, folder: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("JAX", "XLA", "PYTHON"))},
            "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "data"),
            "ML_BLOCK_LOCAL_IP": "false", "SSRF_PROTECTION_ENABLED": "false",
            "COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false", "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "", "SECRET_KEY": secrets.token_hex(32),
        }  # fmt: skip
        self._log = (folder / "label_studio.log").open("w+")
        self.process = subprocess.Popen(
            [PROGRAM, "start", "--no-browser", f"--port={self.port}", "--internal-host=127.0.0.1",
             f"--username={USER}", f"--password={PASSWORD}"],
            env=environment, stdout=self._log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.session = requests.Session()
        self.session.trust_env = False
        try:
            self._wait()
            self._sign_in()
        except BaseException:
            self.stop()
            raise

    def _wait(self):
        end = time.monotonic() + START
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if self.session.get(f"{self.address}/health", timeout=10).ok:
                    return
            except requests.RequestException:
                time.sleep(1)
        pytest.fail(f"Label Studio did not start:\n{self.said()}")

    def _sign_in(self):
        page = self.session.get(f"{self.address}/user/login/", timeout=60)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]
        form = {"email": USER, "password": PASSWORD, "csrfmiddlewaretoken": token}
        answer = self.session.post(
            f"{self.address}/user/login/", data=form, timeout=60,
            headers={"Referer": f"{self.address}/user/login/"},
        )  # fmt: skip
        assert "sessionid" in self.session.cookies, answer.status_code
        self.session.headers["X-CSRFToken"] = self.session.cookies["csrftoken"]
        self.session.headers["Referer"] = self.address

    def ask(self, method: str, path: str, **more):
        """The answer of its API, as JSON.

        Raises:
          AssertionError: it refuses.
        """
        answer = self.session.request(method, self.address + path, timeout=200, **more)
        assert answer.ok, (
            f"{method} {path}: {answer.status_code} {answer.text[:500]}\n{self.said()}"
        )
        return answer.json() if answer.content else None

    @functools.cached_property
    def access_token(self) -> str:
        """The personal access token, as the account page gives it, once."""
        return self.ask("POST", "/api/token/", json={})["token"]

    def project(self, pictures: list[Path]) -> int:
        """A new project with these pictures, uploaded."""
        made = self.ask("POST", "/api/projects/", json={"title": "things", "label_config": CONFIG})
        for path in pictures:
            with path.open("rb") as file:
                self.ask("POST", f"/api/projects/{made['id']}/import",
                         files={path.name: (path.name, file, "image/png")})  # fmt: skip
        return made["id"]

    def tasks(self, project: int) -> list[dict]:
        """All tasks with their annotations, by number; no task is opened, which would predict it."""
        found = self.ask(
            "GET", f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true"
        )
        return sorted(found, key=lambda task: task["id"])

    def predictions(self, project: int) -> list[dict]:
        """All predictions, of all versions, the oldest first."""
        found = self.ask("GET", f"/api/predictions/?project={project}")
        return sorted(found, key=lambda prediction: prediction["id"])

    def said(self) -> str:
        self._log.flush()
        return Path(self._log.name).read_text()[-3000:]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._log.close()
