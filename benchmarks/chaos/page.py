"""The page under many requests at a time: all answered, memory bounded. Needs gradio."""

import importlib.util
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

from benchmarks.chaos.place import APP, Place, kill, start


def run(place: Place, at_a_time: int, rounds: int = 10) -> dict:
    if importlib.util.find_spec("gradio") is None:
        return {"ok": None, "why": "gradio is not installed"}
    process = start([*APP, f"--workdir={place.model}", f"--folder={place.folder / 'page'}"])
    try:
        line = process.stdout.readline()
        if "http://" not in line:
            return {"ok": False, "why": line}
        address = urllib.parse.urlsplit(line.split()[1])
        base = f"http://{address.netloc}"
        first = _memory(process)
        times, faults = [], []
        threads = [
            threading.Thread(target=_visit, args=(base, rounds, times, faults))
            for _ in range(at_a_time)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        grown = _memory(process) - first
    finally:
        kill(process)
    times.sort()
    return {
        "ok": not faults, "at_a_time": at_a_time, "requests": len(times), "faults": faults[:5],
        "median_s": round(times[len(times) // 2], 2) if times else None,
        "slowest_s": round(times[-1], 2) if times else None, "MB_more": round(grown / 2**20),
    }  # fmt: skip


def _visit(base: str, rounds: int, times: list[float], faults: list[str]) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="x.png"\r\n\r\n'
    body += bytes(10_000) + b"\r\n--x--\r\n"
    header = {"Content-Type": "multipart/form-data; boundary=x"}
    for _ in range(rounds):
        for request in (base + "/", base + "/config",
                        urllib.request.Request(f"{base}/gradio_api/upload", body, header)):  # fmt: skip
            began = time.monotonic()
            try:
                with urllib.request.urlopen(request, timeout=120) as answer:
                    answer.read()
            except OSError as error:
                faults.append(str(error))
            times.append(time.monotonic() - began)


def _memory(process: subprocess.Popen) -> int:
    text = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(next(r for r in text.splitlines() if r.startswith("VmRSS")).split()[1])
