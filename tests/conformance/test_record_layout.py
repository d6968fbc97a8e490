"""bpf/record.h and daemon/whenced/record.py describe the same bytes, as BTF tells it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conformance.repository import ROOT

from whenced import gpu_record, record

STRUCTS: dict[str, np.dtype[Any]] = {
    "whence_record": record.RECORD,
    "whence_text": record.TEXT_HEAD,
    "whence_use_key": record.USE_KEY,
    "whence_use": record.USE,
    "whence_probe": record.PROBE,
    "whence_count": record.COUNT,
    "whence_config": record.CONFIG,
    "whence_gpu_record": gpu_record.GPU_RECORD,
    "whence_gpu_node": gpu_record.NODE,
    "whence_gpu_config": gpu_record.GPU_CONFIG,
    "whence_gpu_count": gpu_record.GPU_COUNT,
    "whence_loser": record.LOSER,
    "whence_alive": record.ALIVE,
    "whence_control": record.CONTROL,
}
# C enumeration, its prefix, and the Python twin.
ENUMS = {
    "whence_kind": ("WHENCE_", record.Kind),
    "whence_part": ("WHENCE_TEXT_", record.Part),
    "whence_work": ("WHENCE_WORK_", record.Work),
    "whence_gpu_kind": ("WHENCE_GPU_", gpu_record.GpuKind),
    "whence_gpu_role": ("WHENCE_GPU_", gpu_record.GpuRole),
}

Types = dict[int, dict[str, Any]]
Field = tuple[str, int, int]


@pytest.fixture(scope="module")
def btf(tmp_path_factory: pytest.TempPathFactory) -> Types:
    """Compile record.h with every type in use, and read the object's BTF."""
    folder = tmp_path_factory.mktemp("layout")
    names = [f"struct {name}" for name in STRUCTS] + [f"enum {name}" for name in ENUMS]
    variables = "".join(f"{name} use_{index};\n" for index, name in enumerate(names))
    source = folder / "layout.c"
    source.write_text(f'#include <linux/types.h>\n#include "gpu.h"\n{variables}')
    includes = [f"-I{ROOT / 'bpf'}", *(f"-I{path}" for path in Path("/usr/include").glob("*-gnu"))]
    target = folder / "layout.o"
    compile_command = ["clang", "-g", "-O2", "-target", "bpf", *includes, "-c", str(source)]
    subprocess.run([*compile_command, "-o", str(target)], check=True)
    dump = subprocess.run(
        ["bpftool", "-j", "btf", "dump", "file", str(target)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return {entry["id"]: entry for entry in json.loads(dump)["types"]}


def named(btf: Types, kinds: set[str], name: str) -> dict[str, Any]:
    """Return the one type of that kind and name."""
    (found,) = (entry for entry in btf.values() if entry["kind"] in kinds and entry["name"] == name)
    return found


def resolved(btf: Types, type_id: int) -> dict[str, Any]:
    """Follow typedefs and qualifiers to the type itself."""
    entry = btf[type_id]
    while entry["kind"] in {"TYPEDEF", "CONST", "VOLATILE"}:
        entry = btf[entry["type_id"]]
    return entry


def size_of(btf: Types, type_id: int) -> int:
    """Return the bytes of a type."""
    entry = resolved(btf, type_id)
    if entry["kind"] == "ARRAY":
        return int(entry["nr_elems"]) * size_of(btf, entry["type_id"])
    return int(entry["size"])


def c_fields(btf: Types, struct: dict[str, Any], prefix: str = "", base: int = 0) -> list[Field]:
    """Return (name, offset, bytes) of each member, nested structs flattened."""
    fields: list[Field] = []
    for member in struct["members"]:
        name, offset = f"{prefix}{member['name']}", base + member["bits_offset"] // 8
        entry = resolved(btf, member["type_id"])
        if entry["kind"] == "STRUCT":
            fields += c_fields(btf, entry, f"{name}_", offset)
        else:
            fields.append((name, offset, size_of(btf, member["type_id"])))
    return fields


def python_fields(layout: np.dtype[Any]) -> list[Field]:
    """Return the same of a numpy type."""
    members: Any = layout.fields or {}
    return [(name, members[name][1], members[name][0].itemsize) for name in layout.names or ()]


@pytest.mark.parametrize("name", STRUCTS)
def test_fields_lie_where_the_kernel_writes_them(btf: Types, name: str) -> None:
    """Names, offsets and sizes agree, in order."""
    struct = named(btf, {"STRUCT"}, name)

    assert python_fields(STRUCTS[name]) == c_fields(btf, struct)


@pytest.mark.parametrize("name", STRUCTS)
def test_rows_are_as_long_as_the_struct(btf: Types, name: str) -> None:
    """Padding at the end counts too: it moves every later row."""
    struct = named(btf, {"STRUCT"}, name)

    assert STRUCTS[name].itemsize == struct["size"]


@pytest.mark.parametrize(
    "name", ["whence_record", "whence_use", "whence_probe", "whence_gpu_record"]
)
def test_signs_agree(btf: Types, name: str) -> None:
    """A signed member (a descriptor of -1) is signed in Python too."""
    struct = named(btf, {"STRUCT"}, name)
    signed = {
        member["name"]
        for member in struct["members"]
        if resolved(btf, member["type_id"]).get("encoding") == "SIGNED"
    }

    layout = STRUCTS[name]
    assert {field for field in layout.names or () if layout[field].kind == "i"} == signed


@pytest.mark.parametrize("name", ENUMS)
def test_enumerations_have_the_same_values(btf: Types, name: str) -> None:
    """Every value of the header has its Python name, apart from the closing count."""
    prefix, twin = ENUMS[name]
    enumeration = named(btf, {"ENUM"}, name)
    values = {
        value["name"].removeprefix(prefix): value["val"]
        for value in enumeration["values"]
        if not value["name"].endswith("_COUNT")
    }

    assert {member.name: member.value for member in twin} == values


def test_flags_have_the_same_bits() -> None:
    """WHENCE_F_* are macros, so BTF has no word of them: read the header."""
    header = (ROOT / "bpf" / "record.h").read_text()
    bits = dict(re.findall(r"#define WHENCE_F_(\w+)\s+\(1 << (\d+)\)", header))

    assert {flag.name: flag.value for flag in record.Flag} == {
        name: 1 << int(bit) for name, bit in bits.items()
    }
