"""The modules here and beside are found by name, as they are by ``properties/run.py``."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "properties")]
