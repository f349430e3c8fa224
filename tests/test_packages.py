"""What `pip install` takes of the repository."""

import tomllib

from tests.conftest import ROOT


def test_every_package_is_installed():
    packages = {".".join(path.parent.relative_to(ROOT).parts)
                for top in ("analysis", "experiments", "lora") for path in (ROOT / top).rglob("__init__.py")}
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(packages)
