"""Runs many command lines from one process that has imported everything: a fork for each.

Reads a JSON list of argument lists from stdin (the first argument is the script), writes a JSON list
of [exit code, stdout, stderr]. A start costs seconds, a fork milliseconds.
"""

import json
import os
import runpy
import sys
import tempfile
import traceback

import fss_jax.scoring.results
import fss_jax.studies.every_pair
import fss_jax.training.loop  # noqa: F401


def child(arguments: list[str], streams) -> int:
    for stream, number in zip(streams, (1, 2), strict=True):
        os.dup2(stream.fileno(), number)
    sys.argv = arguments
    try:
        runpy.run_path(arguments[0], run_name="__main__")
        code = 0
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def run(arguments: list[str]) -> tuple[int, str, str]:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        pid = os.fork()
        if not pid:
            os._exit(child(arguments, (out, err)))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read())
        return code, *texts


if __name__ == "__main__":
    print(json.dumps([run(arguments) for arguments in json.load(sys.stdin)]))
