"""Fixtures that every test may use: the shared reference data, skipped where it is absent."""

import os
from pathlib import Path

import pytest

import experiments.config.resolvers  # noqa: F401  (registers the resolvers that conf/ uses)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference data beside the repository (paper tables, oracles, the authors' adapter)."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the shared reference data beside the repository (../shared)")
    return folder


@pytest.fixture(scope="session")
def hub() -> Path:
    """Local mirror of the hub's parquet layout: LORA_LAB_HUB, or ../shared/hub."""
    folder = Path(os.environ.get("LORA_LAB_HUB") or ROOT.parent / "shared" / "hub").resolve()
    if not folder.is_dir():
        pytest.skip("needs a local data mirror (LORA_LAB_HUB or ../shared/hub)")
    return folder
