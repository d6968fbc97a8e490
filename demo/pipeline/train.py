"""Train a small neural network on prepared.npz."""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np
from sklearn.neural_network import MLPClassifier

MODEL = Path("model.joblib")


def main() -> None:
    """Write model.joblib through a temporary name, so that no reader meets half of it."""
    with np.load("prepared.npz") as prepared:
        images, digits = prepared["train_x"], prepared["train_y"]
    model = MLPClassifier(
        hidden_layer_sizes=(48,), learning_rate_init=0.01, early_stopping=True, random_state=7
    )
    model.fit(images, digits)
    half_made = MODEL.with_suffix(".tmp")
    joblib.dump(model, half_made)
    half_made.replace(MODEL)


if __name__ == "__main__":
    main()
