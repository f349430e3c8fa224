"""The folders that come with the project: its packages, its configuration, and the pre-trained nano models."""

from pathlib import Path

PACKAGES = Path(__file__).resolve().parents[2]
# A wheel carries conf/ and results/nano/pretrained inside the package (setup.py); a checkout has them beside it.
SHIPPED = PACKAGES / "experiments" / "shipped"
ROOT = SHIPPED if SHIPPED.is_dir() else PACKAGES
CONF = ROOT / "conf"
