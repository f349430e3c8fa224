"""Build step: a wheel carries the configuration and the pre-trained nano models (experiments/store/paths.py)."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("conf", "results/nano/pretrained")


class BuildWithData(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # an editable install uses the checkout's own
            for folder in SHIPPED:
                shutil.copytree(folder, Path(self.build_lib, "experiments", "shipped", folder), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithData})
