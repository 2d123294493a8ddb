"""The command that prepares datasets: all or nothing, and one line for every mistake."""

import fcntl
from pathlib import Path

import pytest

from data_builders import prepare
from data_builders.fss_glyphs.fss_glyphs_dataset_builder import Builder
from data_builders.fss_glyphs.painting import Painter

SMALL = ["fss_glyphs", "--config", "tiny", "--option", "classes=9"]
PLACE = "fss_glyphs/tiny-classes-9/1.0.0"


def test_prepares_once_and_reports(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Builder, "report", ["one thing was odd"], raising=False)
    prepare.main([*SMALL, "--data_dir", str(tmp_path)])
    out = capsys.readouterr().out
    assert "one thing was odd" in out and "train 50, val 20, test 20 examples" in out
    folder = tmp_path / PLACE
    assert (folder / prepare.REPORT).read_text() == "one thing was odd\n"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    prepare.main([*SMALL, "--data_dir", str(tmp_path)])
    assert "already prepared" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("what is wrong and what to do"), "what is wrong and what to do"),
        (FileNotFoundError("what is missing"), "what is missing"),
        (OSError("what the system says"), "what the system says"),
        (RuntimeError("write() failed: No space left on device; at byte 7"), "the disk of"),
    ],
)
def test_a_failure_leaves_nothing(tmp_path, capsys, monkeypatch, error, expected):
    def fail(self, row):
        if row == 3:
            raise error
        return [(b"", self.fields[0] > 0)] * 10

    monkeypatch.setattr(Painter, "class_pictures", fail)
    assert_refused(capsys, [*SMALL, "--data_dir", str(tmp_path)], expected)
    assert list((tmp_path / PLACE).parent.iterdir()) == [
        (tmp_path / PLACE).parent / ".prepare.lock"
    ]


def test_what_a_killed_run_left_is_removed(tmp_path, capsys):
    folder = tmp_path / PLACE
    stale = folder.parent / f"incomplete.ABC123_{folder.name}"
    stale.mkdir(parents=True)
    (stale / "fss_glyphs-train.array_record-00000-of-00001").write_bytes(b"half")
    prepare.main([*SMALL, "--data_dir", str(tmp_path)])
    assert "left by an interrupted run" in capsys.readouterr().out
    assert not stale.exists() and (folder / "dataset_info.json").exists()


def test_two_processes_do_not_prepare_the_same_dataset(tmp_path, capsys):
    folder = (tmp_path / PLACE).parent
    folder.mkdir(parents=True)
    with (folder / ".prepare.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_refused(
            capsys, [*SMALL, "--data_dir", str(tmp_path)], "another process is preparing"
        )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "give the dataset to prepare, one of: "),
        (["fss_glyph"], "did you mean 'fss_glyphs'? known: "),
        (["../fss_glyphs"], "no dataset '../fss_glyphs'"),
        (["fss_glyphs", "--config", "tinny"], "did you mean 'tiny'? known: full, tiny"),
        (["fss_glyphs", "--confg=tiny"], "did you mean '--config'? known: --config"),
        (["fss_glyphs", "tiny"], "no flag or argument 'tiny'"),
        (["fss_glyphs", "--config"], "expected one argument"),
        (["fss_glyphs", "--option", "clases=12"], "did you mean 'classes'? known: size"),
        (["fss_glyphs", "--option", "classes"], "expected KEY=VALUE"),
        (["fss_glyphs", "--option", "classes=a"], "expected int, like 1000"),
        (["fss_glyphs", "--option", "cues=1"], "expected true or false"),
        (["fss_glyphs", "--option", "classes=2"], "give a number from 9 to 1000"),
        (["fss_glyphs", "--manual_dir", "/no/such"], "manual_dir /no/such is not a folder"),
    ],
)
def test_a_mistake_gets_one_line(tmp_path, capsys, arguments, expected):
    if arguments:
        arguments = [*arguments, "--data_dir", str(tmp_path)]
    assert_refused(capsys, arguments, expected)
    assert list(tmp_path.iterdir()) == []


def test_options_equal_to_the_config_change_nothing():
    config = prepare._with_options(Builder, "tiny", {"size": "64", "cues": "True"})
    assert config is Builder.builder_configs["tiny"]


def test_options_name_the_config():
    def name(**options):
        return prepare._with_options(Builder, "tiny", options).name

    assert name(seed="1") == name(seed=1) == "tiny-seed-1"
    assert name(cues="false", classes="9") == "tiny-classes-9-cues-False"
    slugs = {prepare._slug(text) for text in ("/a/b.txt", "/a_b.txt", "a b.txt")}
    assert len(slugs) == 3 and not any("/" in slug or " " in slug for slug in slugs)


@pytest.mark.parametrize("name", prepare.names())
def test_builder_folders_are_complete(name):
    folder = Path(prepare.__file__).parent / name
    wanted = {"__init__.py", "README.md", "CITATIONS.bib", "TAGS.txt", "checksums.tsv"}
    assert wanted <= {path.name for path in folder.iterdir()}
    assert (Path(__file__).parent / name / f"test_{name}_dataset_builder.py").is_file()
    assert prepare.builder_class(name).name == name


def assert_refused(capsys, arguments, expected):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        prepare.main(arguments)
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "prepare: " in line]
    assert len(lines) == 1 and expected in lines[0] and "Traceback" not in lines[0]
