"""Starting costs next to nothing: who only asks for help does not wait for libraries."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

HEAVY = ("numpy", "scipy", "astropy", "h5py", "matplotlib", "pydantic", "pluggy", "yaml", "pooch")
COMMANDS = [
    "",
    *("demo", "check", "run", "resume", "report", "doctor"),
    *("plugins", "plugins list", "plugins info", "plugins new", "plugins check"),
    *("config", "config init", "config schema", "config explain"),
    *("data", "data list", "data info", "data get", "data verify", "data where"),
    *("tutorials", "tutorials list", "tutorials copy"),
]


def python(*words):
    return [sys.executable, *words]


def ratio(skyfold, mine, other, rounds=7):
    """Return the ratio of the best times of two commands, alternated."""
    best = [float("inf")] * 2
    for _ in range(rounds):
        for i, command in enumerate((mine, other)):
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, env=skyfold.env)
            best[i] = min(best[i], time.perf_counter() - began)
    return best[0] / best[1]


def test_import_costs_at_most_half_more_than_that_of_numpy(skyfold):
    mine, other = python("-c", "import skyfold"), python("-c", "import numpy")
    assert ratio(skyfold, mine, other) < 1.5


def test_help_costs_at_most_twice_the_import_of_numpy(skyfold):
    mine, other = python("-m", "skyfold", "--help"), python("-c", "import numpy")
    assert ratio(skyfold, mine, other) < 2


@pytest.mark.parametrize(
    "code",
    [
        "import skyfold",
        "from skyfold.cli import main; main(['--version'])",
        "from skyfold.command_line import parser; parser().parse_args(['resume', 'out'])",
    ],
)
def test_nothing_heavy_is_imported(skyfold, code):
    show = "import sys; print(); print(*{name.partition('.')[0] for name in sys.modules})"
    ended = subprocess.run(
        python("-c", f"{code}; {show}"), capture_output=True, text=True, check=True, env=skyfold.env
    )
    loaded = ended.stdout.splitlines()[-1].split()
    assert "skyfold" in loaded
    assert not set(HEAVY) & set(loaded)


def test_all_that_is_offered_can_be_imported(skyfold):
    code = "import skyfold; [getattr(skyfold, name) for name in dir(skyfold)]"
    subprocess.run(python("-c", code), check=True, env=skyfold.env)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command or "skyfold")
def test_help_of_every_command(skyfold, command):
    ended = skyfold.accepts(f"{command} --help")
    assert ended.out.startswith(f"usage: skyfold {command}".rstrip())
    assert not ended.err


def test_help_teaches(skyfold, files):
    ended = skyfold.accepts("--help", says=("first steps:", "exit codes:", "skyfold demo"))
    for command in COMMANDS:
        assert command.partition(" ")[0] in ended.out
    files.observation()
    says = ("--psf", "--background", "--smoothing.fwhm", "options of instrument image")
    skyfold.accepts("run counts.fits --help", says=says)


@pytest.mark.parametrize("command", ["", "plugins", "config", "data", "tutorials"])
def test_a_group_alone_shows_its_commands(skyfold, command):
    ended = skyfold(command)
    assert ended.code == (2 if command else 0)
    assert f"usage: skyfold {command}".rstrip() in ended.said


@pytest.mark.parametrize("line", ["--frob", "plugins --frob", "doctor --frob", "frob"])
def test_what_is_not_understood_is_named(skyfold, line):
    skyfold.refuses(2, line, says=("frob",))


def test_version(skyfold):
    from importlib.metadata import version

    assert skyfold.accepts("--version").out == f"skyfold {version('skyfold')}\n"


@pytest.mark.parametrize("line", ["config schema", "data where", "--version"])
def test_closed_pipe_is_not_talked_about(skyfold, line):
    process = skyfold.start(line)
    process.stdout.close()
    assert process.wait() == 7
    assert not process.stderr.read()
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk_behind_the_output_is_said(skyfold):
    line = [sys.executable, "-m", "skyfold", "plugins", "list"]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            line, stdout=full, stderr=subprocess.PIPE, text=True, env=skyfold.env
        )
    assert ended.returncode == 7
    assert "No space left" in ended.stderr
    assert "Traceback" not in ended.stderr
