"""Split the handwritten digits that ship with scikit-learn into train and test."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def main() -> None:
    """Write prepared.npz: 8 x 8 images scaled to 0..1, and their digits."""
    images, digits = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        images / 16.0, digits, test_size=0.25, random_state=7, stratify=digits
    )
    np.savez("prepared.npz", train_x=train_x, test_x=test_x, train_y=train_y, test_y=test_y)


if __name__ == "__main__":
    main()
