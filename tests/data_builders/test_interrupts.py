"""Signals: one line and the right exit code at any moment, and nothing half-written."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest


def started(code, *arguments):
    """A process, once it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


BUSY = """
    import hashlib, sys
    from pathlib import Path
    from data_builders import interrupts
    from fss_jax.runtime import files
    interrupts.install()
    interrupts.GRACE = 0.3
    with files.atomic(Path(sys.argv[1])) as temporary:
        temporary.write_text("half")
        print("ready", flush=True)
        {}
"""
WHERE = {
    "in Python": "while True: pass",
    # As XLA does while it compiles: no instruction of Python's for as long as it takes.
    "in C": "hashlib.pbkdf2_hmac('sha256', b'x', b'y', 2**30)",
}


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_wherever_it_is_nothing_is_left_half_written(tmp_path, where, number, code):
    process = started(BUSY.format(WHERE[where]), str(tmp_path / "x.png"))
    time.sleep(1)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert said.strip().startswith("error: stopped") and len(said.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_who_takes_the_signal_over_is_let_alone():
    process = started("""
        import signal, time
        from data_builders import interrupts
        interrupts.install()
        interrupts.GRACE = 0.1
        signal.signal(signal.SIGTERM, lambda *_: None)
        print("ready", flush=True)
        time.sleep(2)
        print("saved")
    """)
    process.send_signal(signal.SIGTERM)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out, said) == (0, "saved\n", "")


def test_a_second_signal_does_not_wait():
    process = started("""
        import time
        from data_builders import interrupts
        interrupts.install()
        try:
            print("ready", flush=True)
            time.sleep(100)
        finally:
            time.sleep(100)
    """)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.strip() == "error: stopped"


def test_an_import_that_would_hide_the_signal_ends_too(tmp_path):
    (tmp_path / "hides.py").write_text(
        "import time\nprint('ready', flush=True)\ntry:\n    time.sleep(100)\n"
        "except BaseException as error:\n    raise ImportError('see our page') from error\n"
    )
    process = started(
        """
        import sys
        from data_builders import interrupts
        interrupts.install()
        sys.path.insert(0, sys.argv[1])
        import hides
        """,
        str(tmp_path),
    )
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143 and said.strip() == "error: stopped by SIGTERM"
