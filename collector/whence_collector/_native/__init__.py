"""Holds what `make -C collector/native` builds."""
