"""Prepares a dataset as array_record files: `python -m data_builders.prepare NAME [--config C]`.

It does what `tfds build` does, without TensorFlow and Beam. A dataset is either complete or not
there: it is written beside its place and moved when done, and what a killed run left is removed by
the next one.
"""

import argparse
import contextlib
import dataclasses
import difflib
import fcntl
import hashlib
import importlib
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from data_builders import interrupts

if __name__ == "__main__":  # the next import takes seconds: a signal in them ends in a line, too
    interrupts.install()

import tensorflow_datasets as tfds  # noqa: E402
from absl import logging  # noqa: E402

REPORT = "prepare_report.txt"
FILE_FORMAT = "array_record"  # the only one that TFDS reads at random without TensorFlow


def names() -> list[str]:
    """The datasets that can be prepared: the folders here that hold a builder."""
    found = Path(__file__).parent.glob("*/*_dataset_builder.py")
    return sorted(p.parent.name for p in found if p.name == f"{p.parent.name}_dataset_builder.py")


def builder_class(name: str) -> type[tfds.core.GeneratorBasedBuilder]:
    """The builder of a dataset.

    Raises:
      ValueError: there is none of that name.
    """
    _check_known("dataset", name, names())
    return importlib.import_module(f"data_builders.{name}.{name}_dataset_builder").Builder


def config_names(name: str) -> list[str]:
    """The named configs of a dataset, the default one first; empty if it has none.

    Raises:
      ValueError: there is no such dataset.
    """
    return list(builder_class(name).builder_configs)


def prepare(
    name: str,
    config: str | None = None,
    data_dir: str | os.PathLike = "data",
    manual_dir: str | os.PathLike | None = None,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """Prepares one config of a dataset, unless it is there already.

    What the builder found odd (its `report`, a list of lines) is printed and written to
    `prepare_report.txt` in the dataset's folder.

    Args:
      name: folder name of the builder.
      config: one of its configs; by default its first.
      data_dir: where all datasets lie.
      manual_dir: folder of files that the user fetched, for builders that take them.
      options: fields of the config to change, as values or text. They become part of the
        config's name: `tiny` with classes=12 lies in `NAME/tiny-classes-12`.

    Returns:
      The folder with the prepared dataset, as `tfds.builder_from_directory` takes it.

    Raises:
      ValueError: unknown name, config or option; or what the builder says of its input.
      FileNotFoundError: there is no such manual_dir, or the builder misses a file.
      OSError: the disk is full or not writable; or another process prepares this dataset now.
    """
    cls = builder_class(name)
    if config is not None:
        _check_known(f"config of {name}", config, list(cls.builder_configs))
    if manual_dir is not None and not Path(manual_dir).is_dir():
        raise FileNotFoundError(f"manual_dir {manual_dir} is not a folder; give the one you filled")
    builder = cls(
        config=_with_options(cls, config, options or {}),
        data_dir=os.fspath(Path(data_dir).expanduser().absolute()),
        file_format=FILE_FORMAT,
    )
    folder = Path(builder.data_dir)
    with _only_one(folder.parent):
        if (folder / "dataset_info.json").is_file():
            print(f"{builder.info.full_name} is already prepared: {_summary(folder)}")
            return folder
        for stale in folder.parent.glob(f"incomplete.*_{folder.name}"):
            print(f"removing {stale}, left by an interrupted run")
            shutil.rmtree(stale)
        start = time.monotonic()
        try:
            builder.download_and_prepare(
                file_format=FILE_FORMAT,
                download_config=tfds.download.DownloadConfig(
                    manual_dir=manual_dir and os.fspath(Path(manual_dir).absolute())
                ),
            )
        except RuntimeError as error:
            # How array_record reports it, where others raise an OSError.
            if "No space left on device" not in str(error):
                raise
            raise OSError(
                f"the disk of {data_dir} is full; free some space or choose another --data_dir"
            ) from error
        _write_report(folder, getattr(builder, "report", []))
        seconds = time.monotonic() - start
        print(f"{builder.info.full_name} prepared in {seconds:.0f} s: {_summary(folder)}")
    return folder


def _with_options(cls, config: str | None, options: Mapping[str, Any]):
    configs = cls.builder_configs
    if not configs:
        if options:
            raise ValueError(f"{cls.name} takes no options")
        return None
    base = configs[config or next(iter(configs))]
    common = {field.name for field in dataclasses.fields(tfds.core.BuilderConfig)}
    own = [f.name for f in dataclasses.fields(base) if f.name not in common]
    changed = {}
    for key, value in options.items():
        _check_known(f"option of {cls.name}", key, own)
        value = _parse(key, value, getattr(base, key))
        if value != getattr(base, key):
            changed[key] = value
    if not changed:
        return base
    suffix = "".join(f"-{key}-{_slug(str(changed[key]))}" for key in sorted(changed))
    return dataclasses.replace(base, name=base.name + suffix, **changed)


def _parse(key: str, value: Any, default: Any) -> Any:
    """An option's text as the type of its default."""
    if not isinstance(value, str) or isinstance(default, str):
        return value
    if isinstance(default, bool):
        if value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise ValueError(f"option {key}={value}: expected true or false")
    try:
        return type(default)(value)
    except ValueError:
        kind = type(default).__name__
        raise ValueError(f"option {key}={value}: expected {kind}, like {default}") from None


def _slug(text: str) -> str:
    slug = re.sub(r"[^\w.]+", "_", text)
    if slug == text and len(text) <= 40:
        return text
    return f"{slug[-24:].strip('_')}_{hashlib.sha256(text.encode()).hexdigest()[:6]}"


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Holds a folder's lock, which the system releases however the process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".prepare.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"another process is preparing {folder} right now; wait until it is done"
            ) from None
        yield


def _write_report(folder: Path, lines: Iterable[str]) -> None:
    lines = list(lines)
    for line in lines:
        print(f"  {line}")
    temporary = folder / f".{REPORT}"
    temporary.write_text("\n".join(lines or ["nothing odd was found"]) + "\n")
    os.replace(temporary, folder / REPORT)


def _summary(folder: Path) -> str:
    splits = tfds.builder_from_directory(folder).info.splits
    counts = ", ".join(f"{split} {info.num_examples}" for split, info in splits.items())
    size = sum(path.stat().st_size for path in folder.iterdir())
    return f"{counts} examples, {size / 1e6:.1f} MB in {folder}"


def _check_known(what: str, given: str, known: list[str]) -> None:
    if given not in known:
        raise ValueError(f"no {what} {given!r}{_suggestion(given, known)}")


def _suggestion(given: str, known: list[str]) -> str:
    close = difflib.get_close_matches(given, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} known: {', '.join(known) or 'none'}"


def run(
    name: str,
    config: str | None = None,
    data_dir: str | os.PathLike = "data",
    manual_dir: str | os.PathLike | None = None,
    options: Iterable[str] = (),
) -> None:
    """The command: prepares a config of a dataset, or with config 'all' every one.

    Args:
      options: each KEY=VALUE.

    Raises:
      ValueError, FileNotFoundError, OSError: as `prepare`; what a builder says is in one line.
      KeyboardInterrupt: stopped by Ctrl-C or SIGTERM; nothing half-prepared is left.
    """
    logging.set_verbosity(logging.ERROR)  # TFDS warns of every changed config
    if not interrupts.installed():  # called from a program: so that TFDS removes its folder
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        pairs = [option.partition("=") for option in options]
        for key, separator, _ in pairs:
            if not separator:
                raise ValueError(f"--option {key}: expected KEY=VALUE")
        changes = {key: value for key, _, value in pairs}
        configs = config_names(name) if config == "all" else [config]
        for each in configs or [None]:
            prepare(name, each, data_dir, manual_dir, changes)
    except KeyboardInterrupt as stopped:
        stopped.args = ("stopped; nothing half-prepared was left",)
        raise
    except ValueError as error:
        raise ValueError(_message(error)) from error
    except (OSError, tfds.download.DownloadError) as error:
        raise OSError(_message(error)) from error


def _message(error: Exception) -> str:
    """The builder's own words, in one line: TFDS puts the whole example before them."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1] if lines[0].startswith("Failed to ") else " ".join(lines)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _fail(message)


def _fail(message: object, code: int = 2) -> NoReturn:
    print(f"prepare: {message}", file=sys.stderr)
    raise SystemExit(code)


def _parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m data_builders.prepare",
        description=f"Prepares a dataset for training and evaluation: {', '.join(names())}.",
        allow_abbrev=False,
    )
    parser.add_argument("name", nargs="?", help="the dataset")
    parser.add_argument("--config", help="one of its configs, or 'all' (default: its first)")
    parser.add_argument("--data_dir", default="data", help="where datasets lie (default: data)")
    parser.add_argument("--manual_dir", help="folder of files you fetched yourself")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="changes a field of the config; may be repeated",
    )
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        flag = unknown[0].partition("=")[0]
        flags = ["--config", "--data_dir", "--manual_dir", "--option", "--help"]
        _fail(f"no flag or argument {flag!r}{_suggestion(flag, flags)}")
    if parsed.name is None:
        _fail(f"give the dataset to prepare, one of: {', '.join(names())}")
    return parsed


def main(arguments: list[str] | None = None) -> None:
    """The command; exits with 2 and one line for whatever a user can fix."""
    parsed = _parse_arguments(arguments)
    try:
        run(parsed.name, parsed.config, parsed.data_dir, parsed.manual_dir, parsed.option)
    except KeyboardInterrupt as stopped:
        _fail(stopped, getattr(stopped, "code", 130))
    except (ValueError, OSError) as error:
        _fail(error)


if __name__ == "__main__":
    main()
