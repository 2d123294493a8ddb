"""--config by path or name, and settings typed as what they replace."""

import pytest
from ml_collections import ConfigDict

from fss_jax import cli
from fss_jax.runtime import arguments, config_flags

SOME = "oslsm/quickstart"


def read(*words):
    parser = arguments.Parser(prog="test")
    config_flags.add(parser)
    return config_flags.read(parser.parse_args(words))


@pytest.fixture
def config():
    return ConfigDict(
        {
            "steps": 8, "lr": 0.1, "remat": False, "name": "a", "at": (1, 2),
            "model": {"width": 1.0, "blocks": ((1, 16),)},
        }
    ).lock()  # fmt: skip


@pytest.mark.parametrize(
    "path, text, value",
    [
        ("steps", "12", 12),
        ("lr", "0.5", 0.5),
        ("lr", "1", 1.0),
        ("lr", "1e-3", 1e-3),
        ("remat", "true", True),
        ("remat", "0", False),
        ("name", "12", "12"),
        ("at", "(3,)", (3,)),
        ("at", "3", (3,)),
        ("at", "()", ()),
        ("at", "['x', 'y']", ("x", "y")),
        ("at", "word", ("word",)),
        ("model.width", "0.25", 0.25),
        ("model.blocks", "((1, 4), (2, 8))", ((1, 4), (2, 8))),
    ],
)
def test_a_setting_has_the_type_of_what_it_replaces(config, path, text, value):
    config_flags.override(config, [(path, text)])
    found = config
    for key in path.split("."):
        found = found[key]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "path, text, said",
    [
        ("stesp", "1", "no setting config.stesp; did you mean steps?"),
        ("model.widht", "1", "no setting config.model.widht; did you mean width?"),
        ("modl.width", "1", "no setting config.modl; did you mean model?"),
        ("steps.more", "1", "config.steps has no settings inside"),
        ("steps", "1.5", "config.steps=1.5: expected int, like 8"),
        ("lr", "fast", "config.lr=fast: expected float, like 0.1"),
        ("remat", "maybe", "expected true or false, like False"),
        ("at", "(1,", r"expected a tuple, like '\(1, 2\)'"),
        ("model", "3", "expected a dictionary"),
    ],
)
def test_what_does_not_fit_is_told(config, path, text, said):
    before = config.to_json()
    with pytest.raises(ValueError, match=said):
        config_flags.override(config, [(path, text)])
    assert config.to_json() == before


def test_a_repeated_tuple_is_one_and_other_settings_are_the_last(config):
    config_flags.override(config, [("at", "5"), ("lr", "1"), ("at", "6"), ("lr", "2")])
    assert config.at == (5, 6) and config.lr == 2.0


def test_settings_are_read_in_every_spelling():
    config = read(
        "--config", SOME, "--config.lr=0.5", "--config.steps", "12", "--config.remat",
        "--config.model.hidden=128",
    )  # fmt: skip
    assert (config.lr, config.steps, config.remat, config.model.hidden) == (0.5, 12, True, 128)
    assert read("--config", SOME, "--config.remat=true", "--noconfig.remat").remat is False
    assert read("--config.lr=0.5", f"--config={SOME}").lr == 0.5  # in any order


def test_init_is_the_setting_of_that_name():
    assert read("--config", SOME, "--init", "workdir:a").init == "workdir:a"
    assert read("--config", SOME, "--init", "workdir:a", "--config.init=b").init == "workdir:a"
    with pytest.raises(ValueError, match="--init changes a config, and there is none"):
        read("--init", "workdir:a")
    assert read() is None


def test_a_read_config_is_locked():
    with pytest.raises(AttributeError):
        read("--config", SOME).stesp = 8


@pytest.mark.parametrize("name", config_flags.names())
def test_a_config_is_found_by_its_name_and_by_its_path(name):
    path = config_flags.find(name)
    assert path.is_file() and config_flags.find(str(path)) == path
    last = name.rpartition("/")[2]
    if [known.rpartition("/")[2] for known in config_flags.names()].count(last) == 1:
        assert config_flags.find(last) == path


def test_a_config_that_is_not_there_names_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="no config 'quikstart'.*did you mean .*quickstart"):
        config_flags.find("quikstart")
    with pytest.raises(ValueError, match="no config 'nowhere.py'"):
        config_flags.find("nowhere.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match="has no get_config"):
        config_flags.load(str(tmp_path / "empty.py"))
    (tmp_path / "text.txt").write_text("")
    with pytest.raises(ValueError, match="not a Python file"):
        config_flags.load(str(tmp_path / "text.txt"))


def test_models_lists_every_experiment(capsys):
    cli.main(["models"])
    out = capsys.readouterr().out
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert list(lines) == config_flags.names()
