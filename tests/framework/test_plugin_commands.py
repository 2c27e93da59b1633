from pathlib import Path

import pytest

from skyfold import cli
from skyfold.registry import default_registry

seen = {}


def develop(
    plates: list[Path], *, time: float = 1.5, dark: bool = False, edges: list[float] | None = None
) -> None:
    """Develop photographic plates.

    Parameters
    ----------
    plates
        Files with the plates.
    time
        Minutes in the bath.
    dark
        Whether the room is dark.
    edges
        Borders.
    """
    seen.update(plates=plates, time=time, dark=dark, edges=edges)


@pytest.fixture(autouse=True)
def command():
    shelf = default_registry().commands
    shelf.offering = "test"
    shelf.add("plates develop", develop)
    seen.clear()
    yield
    shelf.withdraw("test")


def test_parameters_are_places_and_flags():
    assert cli.main(["plates", "develop", "a.fits", "b.fits", "--time", "2", "--dark"]) == 0
    assert seen == {
        "plates": [Path("a.fits"), Path("b.fits")],
        "time": 2.0,
        "dark": True,
        "edges": None,
    }
    assert cli.main(["plates", "develop", "a.fits", "--edges", "[1, 2.5]"]) == 0
    assert seen["edges"] == [1.0, 2.5]
    assert cli.main(["plates", "develop", "a.fits", "--edges=1", "--edges=2"]) == 0
    assert seen["edges"] == [1.0, 2.0]
    for edges in (["1", "2", "3.5"], ["1,2,3.5"]):
        line = ["plates", "develop", "a.fits", "--edges", *edges, "--dark", "false"]
        assert cli.main(line) == 0
        assert seen["edges"] == [1.0, 2.0, 3.5]
        assert seen["dark"] is False


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("plates develop", "PLATES is missing"),
        ("plates develop a.fits --tme 3", "unknown flag --tme. Did you mean '--time'"),
        ("plates develop a.fits --time", "--time needs a value"),
        ("plates develop a.fits --time --edges 1", "--time needs a value"),
        ("plates develop a.fits --time x", "expected a number"),
        ("plates develop a.fits --time 1 --time 2", "given twice"),
        ("plates develp a.fits", "Did you mean 'plates develop'"),
        ("platse develop", "no command named 'platse'"),
    ],
)
def test_what_is_wrong_is_said(line, says, capsys):
    assert cli.main(line.split()) == 2
    assert says in capsys.readouterr().err


def test_help_comes_from_the_docstring(capsys):
    assert cli.main(["plates", "develop", "--help"]) == 0
    told = capsys.readouterr().out
    for words in ("usage: skyfold plates develop PLATES ... [flags]", "Minutes in the bath", "1.5"):
        assert words in told
    assert cli.main(["plates"]) == 2
    assert "Develop photographic plates" in capsys.readouterr().out


def test_the_overview_names_the_commands_of_plugins(capsys):
    assert cli.main(["--help"]) == 0
    assert "plates develop" in capsys.readouterr().out
