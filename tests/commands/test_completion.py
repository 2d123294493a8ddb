"""`fss completion` prints what a shell completes by."""

import subprocess

import pytest

from fss_jax import cli
from fss_jax.commands import study


@pytest.fixture(scope="module")
def printed():
    import shtab

    return shtab.complete(cli.tree(), "bash")


def test_the_command_prints_it(printed, capsys):
    cli.main(["completion", "bash"])
    assert capsys.readouterr().out.strip() == printed.strip()
    cli.main(["completion", "zsh"])
    assert capsys.readouterr().out.startswith("#compdef fss\n")


@pytest.mark.parametrize(
    "line, among",
    [
        ("fss ", cli.names()),
        ("fss la", ["label"]),
        ("fss label --su", ["--support"]),
        ("fss evaluate --no-tr", ["--no-trivial"]),
        ("fss study ", list(study.members())),
        ("fss study clicks --cl", ["--clicks"]),
        ("fss completion ", ["bash", "zsh"]),
    ],
)
def test_bash_completes(printed, line, among, tmp_path):
    file = tmp_path / "fss"
    file.write_text(printed)
    words = line.split(" ")
    array = " ".join(f"'{word}'" for word in words)
    script = f"""
source '{file}'
COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}'; COMP_POINT={len(line)}
$(complete -p fss | sed -E 's/.*-F ([^ ]+).*/\\1/')
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(among) <= set(done.stdout.split())
