"""A small ctypes binding to libbpf 1.x: the functions that whenced calls.

Knows nothing of whence: no map names, no records. Each failing call raises
BpfError with the operation, the kernel's errno and libbpf's last warnings.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SONAME: Final = "libbpf.so.1"
_Print = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_WARNING_BYTES: Final = 4096
# include/uapi/linux/bpf.h struct bpf_prog_info: where recursion_misses stands; kernels before 5.12
# fill less and leave it 0.
_PROG_INFO_BYTES: Final = 256
_RECURSION_MISSES_AT: Final = 208
# the same file, struct bpf_map_info (type, id, …) and enum bpf_attach_type
_MAP_INFO_BYTES: Final = 88
_TRACE_ITERATOR: Final = 28
_BTF_KIND_TYPEDEF: Final = 8
_BTF_KIND_STRUCT: Final = 4
_BTF_KIND_FUNC: Final = 12

# name -> (result, arguments); libbpf.h and bpf.h of libbpf 1.1
_FUNCTIONS: Final[dict[str, tuple[type | None, list[type]]]] = {
    "bpf_object__open_file": (c_void_p, [c_char_p, c_void_p]),
    "bpf_object__load": (c_int, [c_void_p]),
    "bpf_object__close": (None, [c_void_p]),
    "bpf_object__find_map_by_name": (c_void_p, [c_void_p, c_char_p]),
    "bpf_object__find_program_by_name": (c_void_p, [c_void_p, c_char_p]),
    "bpf_object__next_map": (c_void_p, [c_void_p, c_void_p]),
    "bpf_object__next_program": (c_void_p, [c_void_p, c_void_p]),
    "bpf_program__name": (c_char_p, [c_void_p]),
    "bpf_obj_pin": (c_int, [c_int, c_char_p]),
    "bpf_obj_get": (c_int, [c_char_p]),
    "bpf_link_create": (c_int, [c_int, c_int, c_int, c_void_p]),
    "bpf_map__fd": (c_int, [c_void_p]),
    "bpf_map__name": (c_char_p, [c_void_p]),
    "bpf_map__reuse_fd": (c_int, [c_void_p, c_int]),
    "bpf_map__set_autocreate": (c_int, [c_void_p, ctypes.c_bool]),
    "bpf_map__initial_value": (c_void_p, [c_void_p, POINTER(c_size_t)]),
    "bpf_map__set_max_entries": (c_int, [c_void_p, c_uint32]),
    "bpf_program__fd": (c_int, [c_void_p]),
    "bpf_program__set_autoload": (c_int, [c_void_p, ctypes.c_bool]),
    "bpf_program__attach": (c_void_p, [c_void_p]),
    "bpf_link__fd": (c_int, [c_void_p]),
    "bpf_link__destroy": (c_int, [c_void_p]),
    "bpf_iter_create": (c_int, [c_int]),
    "bpf_map_update_elem": (c_int, [c_int, c_void_p, c_void_p, c_uint64]),
    "bpf_map_lookup_elem": (c_int, [c_int, c_void_p, c_void_p]),
    "bpf_map_lookup_batch": (
        c_int,
        [c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p],
    ),
    "bpf_map_lookup_and_delete_batch": (
        c_int,
        [c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p],
    ),
    "bpf_obj_get_info_by_fd": (c_int, [c_int, c_void_p, POINTER(c_uint32)]),
    "libbpf_set_print": (c_void_p, [_Print]),
    "libbpf_num_possible_cpus": (c_int, []),
    "btf__load_vmlinux_btf": (c_void_p, []),
    "btf__find_by_name_kind": (c_int, [c_void_p, c_char_p, c_uint32]),
    "btf__type_by_id": (c_void_p, [c_void_p, c_uint32]),
    "btf__free": (None, [c_void_p]),
}


class BpfError(Exception):
    """libbpf or the kernel refused; ``number`` is the errno."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.number = number


class _BtfType(ctypes.Structure):
    """struct btf_type (include/uapi/linux/btf.h)."""

    _fields_ = (("name_off", c_uint32), ("info", c_uint32), ("type", c_uint32))


def own_library() -> str:
    """Return the libbpf that a wheel carries, else the name of the host's."""
    carried = Path(__file__).parent / "_bpf" / SONAME
    return str(carried) if carried.exists() else SONAME


def _open_library(path: str) -> ctypes.CDLL:
    needed = Path(path).with_name("libelf.so.1")
    try:
        if needed.is_absolute() and needed.exists():
            # The loader takes what is loaded under that name already (ld.so(8)).
            ctypes.CDLL(str(needed), mode=ctypes.RTLD_GLOBAL)
        library = ctypes.CDLL(path, use_errno=True)
    except OSError as error:
        message = f"cannot load {path}: install it with `apt-get install libbpf1` ({error})"
        raise BpfError(message) from error
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


class Libbpf:
    """One loaded libbpf; `warnings` keeps what it last complained about."""

    def __init__(self, path: str | None = None) -> None:
        path = path or own_library()
        self.warnings: deque[str] = deque(maxlen=60)
        self._library = _open_library(path)
        self._format = ctypes.CDLL(None).vsnprintf
        self._format.argtypes = [c_char_p, c_size_t, c_char_p, c_void_p]
        self._printer = _Print(self._note)  # kept: libbpf holds only the pointer
        self._library.libbpf_set_print(self._printer)
        self.cpu_count = int(self._library.libbpf_num_possible_cpus())

    def _note(self, level: int, template: bytes, arguments: int) -> int:
        # levels: 0 warning, 1 information, 2 debug; a va_list travels as a pointer
        if level == 0:
            buffer = ctypes.create_string_buffer(_WARNING_BYTES)
            self._format(buffer, _WARNING_BYTES, template, arguments)
            self.warnings.append(buffer.value.decode(errors="replace").strip())
        return 0

    def _fail(self, what: str) -> BpfError:
        number = ctypes.get_errno()
        last = "\n".join(list(self.warnings)[-12:])
        return BpfError(f"{what}: {os.strerror(number)}" + (f"\n{last}" if last else ""), number)

    def call(self, name: str, *arguments: object) -> int:
        """Call a function whose result is an int; negative raises BpfError."""
        result = int(getattr(self._library, name)(*arguments))
        if result < 0:
            raise self._fail(name)
        return result

    def pointer(self, what: str, name: str, *arguments: object) -> int:
        """Call a function whose result is a pointer; NULL raises BpfError."""
        result = getattr(self._library, name)(*arguments)
        if not result:
            raise self._fail(what)
        return int(result)

    def maps(self, handle: int) -> Iterator[tuple[int, str]]:
        """Give (address, name) of each map of an object."""
        address = self._library.bpf_object__next_map(handle, None)
        while address:
            yield address, self._library.bpf_map__name(address).decode()
            address = self._library.bpf_object__next_map(handle, address)

    def programs(self, handle: int) -> Iterator[tuple[str, int]]:
        """Give (name, descriptor) of each program of an object that was loaded."""
        address = self._library.bpf_object__next_program(handle, None)
        while address:
            fd = int(self._library.bpf_program__fd(address))
            if fd >= 0:
                yield self._library.bpf_program__name(address).decode(), fd
            address = self._library.bpf_object__next_program(handle, address)

    def iterate(self, program_fd: int) -> int:
        """Return a descriptor from which an iterator program's output is read."""
        link = self.call("bpf_link_create", program_fd, 0, _TRACE_ITERATOR, None)
        try:
            return self.call("bpf_iter_create", link)
        finally:
            os.close(link)

    def object_id(self, fd: int) -> int:
        """The kernel's number of a map, which no other map of this boot has."""
        info = ctypes.create_string_buffer(_MAP_INFO_BYTES)
        size = c_uint32(_MAP_INFO_BYTES)
        self.call("bpf_obj_get_info_by_fd", fd, info, byref(size))
        return int.from_bytes(info.raw[4:8], "little")

    def read_batch(self, fd: int, keys: int, values: int, capacity: int) -> int:
        """Read up to ``capacity`` rows of a hash map, which must hold no more; none is removed."""
        taken = c_uint32(capacity)
        out = ctypes.create_string_buffer(8)
        result = self._library.bpf_map_lookup_batch(fd, None, out, keys, values, byref(taken), None)
        if result < 0 and ctypes.get_errno() != 2:  # ENOENT: that was all
            raise self._fail("bpf_map_lookup_batch")
        return int(taken.value)

    def close_object(self, handle: int) -> None:
        """Free an object: its programs and maps, unless they are held elsewhere."""
        self._library.bpf_object__close(handle)

    def destroy_link(self, link: int) -> None:
        """Detach a program."""
        self._library.bpf_link__destroy(link)

    def drain_batch(self, fd: int, keys: int, values: int, capacity: int) -> int:
        """Take up to ``capacity`` rows out of a hash map; 0 when it is empty.

        ``keys`` and ``values`` are addresses of buffers that hold that many.
        """
        taken = c_uint32(capacity)
        out = ctypes.create_string_buffer(8)  # where to go on; a deleting walk starts anew
        result = self._library.bpf_map_lookup_and_delete_batch(
            fd, None, out, keys, values, byref(taken), None
        )
        if result < 0 and ctypes.get_errno() != 2:  # ENOENT: that was all
            raise self._fail("bpf_map_lookup_and_delete_batch")
        return int(taken.value)

    def look_up(self, fd: int, key: bytes, value_bytes: int) -> bytes | None:
        """Return the value of ``key`` (all CPUs' for a per-CPU map), or None."""
        value = ctypes.create_string_buffer(value_bytes)
        result = self._library.bpf_map_lookup_elem(fd, ctypes.c_char_p(key), value)
        return None if result < 0 else value.raw

    def recursion_misses(self, fd: int) -> int:
        """Times that the kernel skipped a program because it was active on that CPU already."""
        info = ctypes.create_string_buffer(_PROG_INFO_BYTES)
        size = c_uint32(_PROG_INFO_BYTES)
        self.call("bpf_obj_get_info_by_fd", fd, info, byref(size))
        at = _RECURSION_MISSES_AT
        return int.from_bytes(info.raw[at : at + 8], "little")

    def update(self, fd: int, key: bytes, value: bytes) -> None:
        """Set ``key`` to ``value``; raises BpfError."""
        self.call("bpf_map_update_elem", fd, ctypes.c_char_p(key), ctypes.c_char_p(value), 0)

    @contextmanager
    def kernel_types(self) -> Iterator[KernelTypes]:
        """Parse the running kernel's BTF for the length of the context; raises BpfError.

        Takes about 10 ms and as many megabytes, hence once for all questions.
        """
        btf = self.pointer("the kernel has no BTF", "btf__load_vmlinux_btf")
        try:
            yield KernelTypes(self._library, btf)
        finally:
            self._library.btf__free(btf)


class KernelTypes:
    """What the running kernel's BTF names, while Libbpf.kernel_types() holds it."""

    def __init__(self, library: ctypes.CDLL, btf: int) -> None:
        self._library, self._btf = library, btf

    def has_function(self, name: str) -> bool:
        """Whether the kernel knows a function of that name."""
        return self._find(name, _BTF_KIND_FUNC) is not None

    def has_struct(self, name: str) -> bool:
        """Whether the kernel knows a struct of that name."""
        return self._find(name, _BTF_KIND_STRUCT) is not None

    def tracepoint_arguments(self, name: str) -> int | None:
        """Number of arguments of a tracepoint, None when the kernel lacks it."""
        type_id = self._find(f"btf_trace_{name}", _BTF_KIND_TYPEDEF)
        if type_id is None:
            return None
        for _ in range(2):  # typedef -> pointer -> prototype
            type_id = self._type(type_id).type
        # the first argument of the prototype is private data
        return int(self._type(type_id).info & 0xFFFF) - 1

    def _find(self, name: str, kind: int) -> int | None:
        type_id = int(self._library.btf__find_by_name_kind(self._btf, name.encode(), kind))
        return None if type_id < 0 else type_id

    def _type(self, type_id: int) -> _BtfType:
        return _BtfType.from_address(self._library.btf__type_by_id(self._btf, type_id))
