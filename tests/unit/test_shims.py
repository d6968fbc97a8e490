"""Scripts of version managers that become the program of their own name."""

from __future__ import annotations

from tests.unit.observed import Observed

TERMINAL = 0x8800000


def test_shim_and_its_helpers_are_part_of_the_program_that_it_becomes() -> None:
    observed = Observed()
    host = observed.host
    shell = host.spawn(None, "-bash", terminal=TERMINAL)
    script = host.spawn(shell, "sh", "pipeline.sh", process_group=77)
    shim = host.spawn(script, "bash", "/home/ann/.pyenv/shims/python3", "train.py")
    helper = host.spawn(shim, "bash", "/home/ann/.pyenv/libexec/pyenv-which", "python3")
    nested = host.spawn(helper, "basename", "3.11")
    for process in (nested, helper):
        host.end(process)
    observed.deliver()
    real = host.again(shim, "/home/ann/.pyenv/versions/3.11/bin/python3", "train.py")
    observed.deliver()

    assert observed.run(real).command == "/home/ann/.pyenv/versions/3.11/bin/python3 train.py"
    assert observed.run(real).kind == "step"
    assert observed.run(helper) == observed.run(real)
    assert observed.run(nested) == observed.run(real)


def test_script_that_becomes_another_program_keeps_its_steps() -> None:
    observed = Observed()
    host = observed.host
    shell = host.spawn(None, "-bash", terminal=TERMINAL)
    script = host.spawn(shell, "bash", "run.sh", process_group=77)
    prepare = host.spawn(script, "python3", "prepare.py")
    host.end(prepare)
    last = host.again(script, "python3", "train.py")
    observed.deliver()

    assert observed.run(prepare) != observed.run(last)


def test_question_to_whence_is_a_run_of_its_own_kind() -> None:
    observed = Observed()
    host = observed.host
    shell = host.spawn(None, "-bash", terminal=TERMINAL)
    client = host.spawn(shell, "python3", "/usr/local/bin/whence", "model.pt", process_group=78)
    observed.deliver()

    assert observed.run(client).kind == "question"
