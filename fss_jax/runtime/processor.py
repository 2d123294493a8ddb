"""What this machine's processor can do."""

import functools
from pathlib import Path


@functools.cache
def instructions() -> frozenset[str]:
    """Its instruction sets by Linux' names, such as 'avx2' and 'avx512f'; empty where not told."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    lines = (line.partition(":") for line in text.splitlines())
    return frozenset(
        flag for name, _, flags in lines if name.strip() == "flags" for flag in flags.split()
    )
