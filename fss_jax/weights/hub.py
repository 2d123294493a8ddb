"""DINO's weights by name from the Hugging Face hub: 'hub:OWNER/NAME' or 'hub:OWNER/NAME@REVISION'.

huggingface_hub (pip install 'fss_jax[hub]') does the transfer: files are kept in its cache and
shared with every other program that uses it, a connection that breaks goes on where it was, and its
environment variables work: HF_HOME (the cache), HF_HUB_OFFLINE=1, HF_ENDPOINT, HF_TOKEN.
"""

import difflib
import hashlib
import json
import logging
import re
from pathlib import Path
from typing import NamedTuple

from fss_jax.weights import dino
from fss_jax.weights.layouts import Imported
from fss_jax.weights.reading import blaming, need

TAKES = "name"

log = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Download(NamedTuple):
    """Files of one commit of a repository.

    Attributes:
      path: what dino.load reads: model.safetensors, or the index of one in parts.
      repository: 'OWNER/NAME'.
      revision: the commit, 40 hexadecimal digits, whatever name it was asked for by.
      sha256: of every file, by name. Where the hub states one, it was compared.
      offline: whether the hub was not asked, or did not answer, and the cache was used.
    """

    path: Path
    repository: str
    revision: str
    sha256: dict[str, str]
    offline: bool


def fetch(name: str) -> Download:
    """The weights of a repository, downloaded (with progress) if the cache lacks them.

    Args:
      name: 'OWNER/NAME', optionally with '@' and a branch, a tag or a commit; else 'main'.

    Raises:
      ValueError: one line that says what to do: a repository that is gated, unknown, or holds no
        .safetensors; no such revision; no network or offline mode and nothing in the cache; a
        transfer that fails; a file whose SHA-256 is not the hub's.
    """
    match = _NAME.fullmatch(name)
    if not match:
        raise ValueError(f"hub:{name}: expected hub:OWNER/NAME or hub:OWNER/NAME@REVISION")
    repository, revision = match["repository"], match["revision"]
    hub = need("huggingface_hub", "hub")
    need("huggingface_hub.errors", "hub")  # which the package loads when it needs them
    first, excuse = None, None
    for file in (dino.WHOLE, dino.INDEX):
        first, excuse = _file(hub, repository, file, revision)
        if first:
            break
    if first is None:
        raise ValueError(
            f"hub:{name}: that repository holds neither {dino.WHOLE} nor {dino.INDEX}; convert its "
            "weights to one, and name the file: dino:/path/model.safetensors"
        )
    commit, paths = first.parent.name, [first]
    if first.name == dino.INDEX:
        with blaming(first, "index of .safetensors files"):
            parts = sorted(set(json.loads(first.read_text())["weight_map"].values()))
        # Of the same commit: 'main' may have moved since.
        found = [_file(hub, repository, part, commit) for part in parts]
        if not all(path for path, _ in found):
            raise ValueError(f"hub:{name}: its {dino.INDEX} names files that are not there")
        paths += [path for path, _ in found]
        excuse = next((why for why in (excuse, *(w for _, w in found)) if why), None)
    if excuse:
        log.warning("hub:%s: %s; using the cached revision %s", name, excuse, commit)
    return Download(first, repository, commit, {p.name: _digest(p) for p in paths}, bool(excuse))


def _file(hub, repository: str, file: str, revision: str | None) -> tuple[Path | None, str | None]:
    """A file's place in the cache, and why the hub was not asked; no place: the hub lacks the file."""
    cause = None
    try:
        if hub.is_offline_mode():
            raise hub.errors.OfflineModeIsEnabled("HF_HUB_OFFLINE is set")
        # hf_hub_download turns to the cache without a word where the hub cannot be asked.
        hub.get_hf_file_metadata(hub.hf_hub_url(repository, file, revision=revision))
    except hub.errors.RemoteEntryNotFoundError:
        return None, None
    # Its HTTP library has changed with its versions, and the errors with it.
    except Exception as error:
        cause = error
    try:
        path = hub.hf_hub_download(
            repository, file, revision=revision, local_files_only=cause is not None
        )
    except hub.errors.EntryNotFoundError as error:
        index = dino.INDEX if file == dino.WHOLE else file
        if cause and hub.try_to_load_from_cache(repository, index, revision=revision):
            return None, None
        raise ValueError(_advice(hub, repository, revision, cause or error)) from None
    except Exception as error:
        raise ValueError(
            f"hub:{repository}: downloading {file} failed ({_line(error)}); try again, or get it "
            f"elsewhere and name the copy: dino:/path/{file}"
        ) from None
    return Path(path), _excuse(hub, cause) if cause else None


def _excuse(hub, cause: Exception) -> str:
    if isinstance(cause, hub.errors.OfflineModeIsEnabled):
        return "offline mode (HF_HUB_OFFLINE)"
    return f"the hub gave no answer to use ({_line(cause)})"


def _advice(hub, repository: str, revision: str | None, cause: Exception) -> str:
    """One line on why nothing can be had, and what to do."""
    page = f"{hub.constants.ENDPOINT}/{repository}"
    errors, name = hub.errors, f"hub:{repository}"
    if isinstance(cause, errors.GatedRepoError):
        return (
            f"{name} is gated: accept its license at {page}, then log in with `hf auth login` or "
            f"set HF_TOKEN; or download it there and name the file: dino:/path/{dino.WHOLE}"
        )
    if isinstance(cause, errors.RepositoryNotFoundError):
        close = difflib.get_close_matches(repository, dino.SOURCES, 1)
        meant = f"did you mean hub:{close[0]}?" if close else f"known: {', '.join(dino.SOURCES)}"
        return f"{name}: no such repository, or a private one (then `hf auth login`); {meant}"
    if isinstance(cause, errors.RevisionNotFoundError):
        return f"{name}: no revision {revision!r}; leave it out or see {page}/commits/main"
    cache = hub.constants.HF_HUB_CACHE
    if isinstance(cause, errors.OfflineModeIsEnabled):
        wanted = f"{repository}@{revision or 'main'}"
        return f"offline mode, and {wanted} is not in the cache {cache}: unset HF_HUB_OFFLINE once"
    return (
        f"{name}: the hub cannot be asked ({_line(cause)}) and the cache {cache} lacks it; get it "
        f"elsewhere and name the copy: dino:/path/{dino.WHOLE}"
    )


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _digest(path: Path) -> str:
    """The SHA-256 of a file of the cache.

    Raises:
      ValueError: not the one that the hub states for it, which is the name of what the cache's link
        points to. The file is removed, so that the next call fetches it anew.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    stored = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", stored.name) and stored.name != digest:
        stored.unlink()
        path.unlink(missing_ok=True)
        raise ValueError(
            f"{path}: its SHA-256 is {digest}, the hub's {stored.name}; it was removed: try again"
        )
    return digest


def load(name: str) -> Imported:
    """Imports a repository's weights; `origin` says which commit they are. Raises as `fetch`."""
    found = fetch(name)
    return dino.load(found.path)._replace(
        origin={
            "source": f"hub:{found.repository}",
            "revision": found.revision,
            "sha256": found.sha256,
            "offline": found.offline,
        }
    )
