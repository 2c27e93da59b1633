import ast

import pytest

from skyfold.errors import ConfigError, FileError
from skyfold.scaffold import write


def test_a_plugin_is_written(tmp_path):
    folder = write("my-tel", tmp_path)
    assert folder.name == "skyfold-my-tel"
    assert {p.name for p in folder.iterdir()} == {
        "pyproject.toml", "skyfold_my_tel.py", "test_skyfold_my_tel.py", "README.md",
    }  # fmt: skip
    for path in folder.glob("*.py"):
        ast.parse(path.read_text())
        assert "$" not in path.read_text()
    assert 'my-tel = "skyfold_my_tel"' in (folder / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", ["My tel", "2tel", "", "../x", "class"])
def test_impossible_names_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be the name"):
        write(name, tmp_path)


def test_an_existing_folder_is_left_alone(tmp_path):
    write("tel", tmp_path)
    with pytest.raises(FileError, match="exists"):
        write("tel", tmp_path)
