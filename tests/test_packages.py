"""What `pip install` takes of the repository."""

import tomllib

from setuptools import find_packages

from tests.conftest import ROOT


def test_every_package_is_installed():
    packages = {".".join(path.parent.relative_to(ROOT).parts)
                for top in ("analysis", "experiments", "lora") for path in (ROOT / top).rglob("*.py")}
    find = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    assert set(find_packages(str(ROOT), include=find["include"])) == packages
