"""Measure model.joblib on the part of prepared.npz that it never saw."""

from __future__ import annotations

import json
from pathlib import Path

import joblib
import numpy as np


def main() -> None:
    """Write metrics.json: the share of digits that were recognised."""
    with np.load("prepared.npz") as prepared:
        images, digits = prepared["test_x"], prepared["test_y"]
    model = joblib.load("model.joblib")
    accuracy = float(model.score(images, digits))
    Path("metrics.json").write_text(json.dumps({"accuracy": round(accuracy, 4)}) + "\n")


if __name__ == "__main__":
    main()
