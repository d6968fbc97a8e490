"""An instance with settings and a control group of its own, which a test may hurt."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.addresses import free_address
from tests.scope import Scope
from tools.instance import Instance, bring_down, bring_up


@contextmanager
def apart(name: str, data_dir: Path, settings: str) -> Iterator[tuple[Instance, Scope]]:
    """Start it with the text of a settings file; stop it and remove the control group after."""
    scope = Scope.create(f"whence-{name}-{os.getpid()}")
    instance = Instance(data_dir, free_address())
    path = data_dir / "whenced.toml"
    path.write_text(settings)
    bring_up(instance, ["--cgroup", str(scope.directory), "--config", str(path)])
    yield instance, scope
    bring_down(instance)
    scope.remove()
