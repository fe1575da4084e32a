"""Puts the files that lie beside the package into the wheel, in fervit/shipped/; pyproject.toml has all the rest."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = (
    *("search_spaces", "clusters", "cluster.yaml", "constraints.txt"),
    *("launch", "pyproject.toml", "README.md", "LICENSE"),  # with which `fervit cluster init` makes a folder of code
)


class WithShipped(build_py):
    """Builds the package with these files in it. An editable installation finds them where they are."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name in SHIPPED:
            source, target = Path(name), Path(self.build_lib) / "fervit" / "shipped" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)


setup(cmdclass={"build_py": WithShipped})
