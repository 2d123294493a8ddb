"""What a killed process was writing: never taken for a picture, and gone at the next start."""

import subprocess
import sys
import textwrap

import pytest

from data_builders import pairs
from fss_jax.labelling import job
from fss_jax.runtime import files

WRITES = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from fss_jax.runtime import files
    with files.atomic(Path(sys.argv[1])) as temporary:
        temporary.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
""")


def test_what_a_kill_left_is_no_mask_and_is_cleaned_by_the_next_start(tmp_path):
    path = tmp_path / "masks" / ("x" * 240 + ".png")
    subprocess.run([sys.executable, "-c", WRITES, str(path)], check=False)
    (left,) = path.parent.iterdir()
    assert left.name.startswith(".") and left.suffix == files.ENDING
    assert not list(pairs.pictures(path.parent)) and not path.exists()
    with pytest.raises(ValueError, match="has no picture"):
        job.find_images(path.parent)
    with files.atomic(path.parent / "y.png") as ours:  # of a process that lives
        elsewhere = path.parent / f".z.other-host.1.abc{files.ENDING}"
        elsewhere.write_bytes(b"half")
        assert files.clean(tmp_path) == [left]
        assert ours.exists() and elsewhere.exists()


def test_a_process_that_ends_at_once_leaves_nothing(tmp_path):
    with files.replacement(tmp_path / "x.png") as temporary:
        files.abandon()
        assert not temporary.exists()
