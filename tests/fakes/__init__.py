"""Fakes of hardware that is absent; each stands behind the real library and is named so."""
