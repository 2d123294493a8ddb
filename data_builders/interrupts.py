"""Ctrl-C and SIGTERM end a command with one line, whatever it is doing: importing, compiling, writing.

Python runs a signal's handler between two of its own instructions. A compilation may not come to one for
minutes; then a thread ends the process in its place, after it removed the half-written files. Imports
nothing that takes time, so that it can be the first import of all.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import NoReturn

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: the same command goes on
GRACE = 5.0  # seconds that Python has to come to its next instruction
UNWINDING = 60.0  # seconds that it then has to leave things in order
SWALLOWING = (
    "_xla_gc_callback",
)  # functions out of which no exception comes (JAX's, in a collection)

_codes = {signal.SIGINT: 130, signal.SIGTERM: 143}
_said = {signal.SIGINT: "stopped", signal.SIGTERM: "stopped by SIGTERM"}
_raised = threading.Event()
at_end: list[Callable[[], None]] = []  # what must still be done when the process ends at once


class Stopped(KeyboardInterrupt):
    """Raised where the main thread is; its text is the line to print.

    Attributes:
      code: to exit with.
    """

    def __init__(self, number: int):
        super().__init__(_said[number])
        self.code = _codes[number]


def install() -> None:
    """To be called first of all, from the main thread."""
    if installed():
        return
    sys.excepthook = _told
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in _codes:
        signal.signal(number, _raise)
    os.register_at_fork(after_in_child=_of_the_parent_alone)
    # Written to by the system's handler, so at once.
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), daemon=True, name="interrupts").start()


def _of_the_parent_alone() -> None:
    """A forked child ends as it always did, and does not wake the parent's thread."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def installed() -> bool:
    return signal.getsignal(signal.SIGINT) is _raise


def _told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Where nothing catches it yet, as in the imports at the top of a script."""
    if isinstance(error, Stopped):
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(error.code)
    sys.__excepthook__(kind, error, trace)


def on_sigterm(code: int, said: str) -> None:
    """From now on SIGTERM ends with this exit code and line."""
    _codes[signal.SIGTERM], _said[signal.SIGTERM] = code, said


def _raise(number: int, frame: FrameType | None) -> None:
    if frame and frame.f_code.co_name in SWALLOWING:
        # Whatever is raised in there is printed and forgotten: ask again in a moment.
        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
        return
    if _raised.is_set():
        _end(number)  # a second time: do not wait for the first to unwind
    if _importing(frame):
        _end(number)  # what is raised there may end in an error of the module, as in numpy
    _raised.set()
    raise Stopped(number)


def _importing(frame: FrameType | None) -> bool:
    """Whether a frame is reached through an import that has not ended."""
    while frame:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def end(stopped: Stopped) -> NoReturn:
    """Ends the process with the line and code of a signal, once what it interrupted is unwound.

    Without the interpreter's own end: threads of XLA that still compute crash it now and then.
    """
    for act in at_end:
        act()
    sys.stdout.flush()
    print(f"error: {stopped}", file=sys.stderr, flush=True)
    os._exit(stopped.code)


def _watch(reader: int) -> None:
    while True:
        (number,) = os.read(reader, 1)
        if number not in _codes or signal.getsignal(number) is not _raise:
            continue  # somebody else's, like the training loop's, which saves first
        if _raised.wait(GRACE):
            time.sleep(UNWINDING)
        _end(number)


def _end(number: int) -> NoReturn:
    for act in at_end:
        act()
    os.write(sys.stderr.fileno(), f"\nerror: {_said[number]}\n".encode())
    os._exit(_codes[number])
