"""Packages, publishers' names, who launched it and what changed since, as people see them."""

from __future__ import annotations

from tests.unit import client_samples as samples
from tests.unit.test_client_render import answer

from whence.model import Run, from_wire
from whence.render import who
from whence_proto.v1 import query_pb2 as wire

ORIGIN = "meta-llama/Llama-3.2-1B@4e20de362430cd3b72f300e6b0f18e50e7166e08:model.safetensors"


def trained(reply: wire.FindReply) -> wire.Production:
    """Return the production that the answer begins with."""
    (found,) = [each for each in reply.productions if each.run.run_id == samples.TRAIN_ID]
    return found


def test_a_fine_tuned_model_names_its_base_and_its_packages() -> None:
    reply = samples.found()
    production = trained(reply)
    edge = samples.edge("/cache/blobs/" + "ab" * 32, "sha256:" + "ab" * 32, "model", origin=ORIGIN)
    production.inputs.append(edge)
    for ecosystem, name, version in (("pypi", "torch", "2.9.1"), ("deb", "libc6", "2.36")):
        production.packages.add(ecosystem=ecosystem, name=name, version=version)
    production.packages.add(ecosystem="pypi", name="local", modified=True)
    text = answer(reply)

    assert "Llama-3.2-1B@4e20de3  sha256:abababab  model.safetensors" in text
    assert "and 214 library files" in text
    assert "packages torch 2.9.1, local ? (modified), 1 more" in text


def test_what_changed_since_is_said() -> None:
    reply = samples.found()
    production = trained(reply)
    production.superseded = True
    production.inputs[0].changed_since = True
    production.inputs[0].ClearField("producer_run_id")
    text = answer(reply)

    assert "other content stands under its name" in text
    assert "changed since" in text


def test_who_launched_it_in_a_word() -> None:
    told = {
        ("human", "ada", None): "ada",
        ("agent", "claude", "ada"): "claude for ada",
        ("service", "cron", None): "cron for alice",
        (None, None, None): "alice",
    }

    def said(kind: str | None, name: str | None, human: str | None) -> str:
        run = samples.run("4f0c", "x", 1, 1, principal_kind=kind, principal=name, acting_for=human)
        return who(from_wire(Run, wire.RunSummary.FromString(run.SerializeToString())))

    assert {each: said(*each) for each in told} == told
