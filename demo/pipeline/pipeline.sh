#!/bin/sh
# Three ordinary steps. Nothing here has heard of whence.
set -eu
python prepare.py
python train.py
python evaluate.py
