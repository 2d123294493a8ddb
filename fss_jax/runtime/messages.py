"""What a person sees of a command: its own log lines, and one line instead of a traceback."""

import contextlib
import logging
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from data_builders import interrupts

MISUSED = 2  # exit code of what a user can fix
INTERRUPTED = 130  # exit code of Ctrl-C, as shells give it


def fail(message: object, code: int = MISUSED) -> NoReturn:
    """Prints one line and ends the process with the exit code."""
    told = str(message).partition("\n-----")[0]  # JAX adds a remark on tracebacks to what it traced
    print(f"error: {' '.join(told.split())}", file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def boundary(traceback: bool = False) -> Iterator[None]:
    """Ends the process with one line and exit code 2 for what a user can cause.

    That is ValueError and OSError: a bad setting, a missing file, a full disk. Ctrl-C is one line and
    exit code 130, SIGTERM (`data_builders.interrupts`) has its own. Anything else is a bug and keeps
    its traceback.

    Args:
      traceback: show one for those, too; so does FSS_JAX_TRACEBACK=1 in the environment.
    """
    traceback = traceback or bool(os.environ.get("FSS_JAX_TRACEBACK"))
    try:
        yield
    except BrokenPipeError:
        # `fss ... | head` closed the pipe: Python must not report it once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt as stopped:
        if traceback:
            raise
        if isinstance(stopped, interrupts.Stopped):
            interrupts.end(stopped)
        fail(str(stopped) or "stopped", INTERRUPTED)
    except (ValueError, OSError) as error:
        if traceback:
            raise
        fail(error)


def command_line() -> str:
    """This process's command as a person types it."""
    program, *words = sys.orig_argv
    if words and Path(words[0]).name == "fss":
        return shlex.join(["fss", *words[1:]])
    return shlex.join(["python", *words])


def show_only_our_messages() -> None:
    """Our log lines go to the terminal bare, the libraries' only if they are errors."""
    import absl.logging

    absl.logging.set_verbosity(absl.logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        # Names of files may hold bytes that are no text.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    logging.getLogger("jax").setLevel(logging.WARNING)  # it tells of backends that are not there
    ours = logging.getLogger("fss_jax")
    ours.setLevel(logging.INFO)
    ours.propagate = False
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    ours.handlers = [handler]


def use_compilation_cache() -> None:
    """Compiled functions survive the process: a second start skips compiling."""
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR") or _writable_cache()
    if not folder:
        return
    import jax

    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def cache_home() -> Path | None:
    """$XDG_CACHE_HOME or ~/.cache; None where there is no home, as for any user id in a container."""
    with contextlib.suppress(RuntimeError):
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return None


def _writable_cache() -> str:
    """The folder of compiled functions; '' where nothing can be kept."""
    home = cache_home()
    if home is None:
        return ""
    folder = home / "fss_jax" / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home
        return ""
    return str(folder) if os.access(folder, os.W_OK) else ""
