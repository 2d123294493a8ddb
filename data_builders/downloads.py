"""Fetches a file from the first address that answers, or says within seconds what to give instead.

TFDS downloads, checks checksums and keeps what it fetched. It also tries a dead address for minutes;
so each is asked first whether it answers at all.
"""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

SECONDS = 8.0  # for all addresses together; a message comes within ten


def fetch(dl_manager, files: Mapping[str, Sequence[str]]) -> dict[str, Path]:
    """Downloads files, each from the first of its addresses that works; what is there stays.

    Args:
      dl_manager: TFDS's; it holds the checksums, and what it fetched before.
      files: name of each file -> its addresses, the best one first.

    Returns:
      The place of each file.

    Raises:
      ValueError: no address of a file works; one line with each that was tried and what to do.
    """
    kept = {name: _kept(dl_manager, urls) for name, urls in files.items()}
    asked = [url for name, urls in files.items() if not kept[name] for url in urls]
    wrong = _ask(asked)
    dead = [name for name, urls in files.items() if not kept[name] and all(map(wrong.get, urls))]
    if dead:  # before gigabytes of the others are fetched
        raise ValueError(_refusal(files, dead, wrong))
    places = {}
    for name, urls in files.items():
        for url in kept[name] or [url for url in urls if not wrong[url]]:
            try:
                places[name] = Path(dl_manager.download(url))
                break
            except Exception as error:  # cut off, moved, a wrong checksum: whatever it meets
                wrong[url] = _reason(error)
        else:
            raise ValueError(_refusal(files, [name], wrong))
    return places


def _kept(dl_manager, urls: Sequence[str]) -> list[str]:
    """Those addresses whose file an earlier download left here, as the notes beside it say."""
    found = set()
    for note in Path(dl_manager.download_dir).glob("**/*.INFO"):
        if note.with_suffix("").is_file():
            found.update(json.loads(note.read_text()).get("urls", ()))
    return [url for url in urls if url in found]


def _ask(urls: Sequence[str]) -> dict[str, str]:
    """What is wrong with each address, all asked at once; empty for one that answers."""
    wrong = dict.fromkeys(urls, f"no answer in {SECONDS:.0f} s")

    def ask(url: str) -> None:
        try:
            with requests.Session() as session:
                with session.get(url, stream=True, timeout=SECONDS) as response:
                    code = response.status_code
                    answer = "" if code < 400 else f"answers {code} {response.reason or ''}".strip()
        except Exception as error:  # no network, a wrong certificate: whatever it meets
            answer = _reason(error)
        wrong[url] = answer

    # Threads that may be left behind: looking up a name can not be given a time limit.
    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    end = time.monotonic() + SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return dict(wrong)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"no connection: {type(error).__name__}"
    return (str(error) or type(error).__name__).splitlines()[0]


def _refusal(files: Mapping[str, Sequence[str]], names: Sequence[str], wrong: Mapping) -> str:
    tried = ", ".join(
        f"{url} ({wrong.get(url) or 'not tried'})" for name in names for url in files[name]
    )
    return (
        f"cannot download {tried}; fetch {' and '.join(names)} by other means and give the folder "
        "that holds it as --manual_dir"
    )
