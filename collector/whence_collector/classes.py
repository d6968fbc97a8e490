"""What kind of file a path is: data, code, config, library, cache or model.

Pure and by name alone, so that the same path always gets the same class; content is not read.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

CLASSES = ("data", "code", "config", "library", "cache", "model")
FOLDERS_REMEMBERED = 1 << 16
SHOWN = ("data", "code", "config", "model")  # what an answer shows unless asked for all

_HIDDEN = re.compile(r"^/(proc|sys|dev)(/|$)")
_PACKAGES = re.compile(
    r"/(site-packages|dist-packages|node_modules)/|/lib(64)?/(python|pypy|ruby|perl|R)\d?[\d./]*"
)
_PACKAGED_DATA = re.compile(r"/(data|datasets?|corpora|resources|testdata|sample_data)/", re.I)
_SYSTEM = re.compile(
    r"^/(usr/(local/)?)?(lib(32|64|exec|x32)?|include|s?bin)/|^/(snap|nix/store)/|"
    r"^/usr/(share|src)/|^/opt/(cuda|conda|rocm|intel)|^/usr/local/(cuda|share)"
)
# Version managers, virtual environments, and what every program reads of the system.
_TOOLING = re.compile(
    r"/\.(pyenv|rbenv|nodenv|nvm|asdf|sdkman|rustup|conda|local/share/(mise|uv))/|/pyvenv\.cfg$|"
    r"/(mini|ana|mamba|micromamba)(conda|forge)?\d?/(bin|condabin|etc|lib|conda-meta|envs/[^/]+/bin)/|"
    r"^/etc/(ld\.so|locale|ssl/|ca-certificates|passwd|group|nsswitch|resolv|hosts|host\.conf|"
    r"gai\.conf|localtime|timezone|mime|services|protocols|inputrc|profile|bash|environment|"
    r"alternatives/|fonts/|pam\.d/|security/|login\.defs|shells|terminfo|os-release|machine-id|"
    r"debian_version|apt/|dpkg/|java|perl/|python\d?|selinux/|sudo|xattr|magic|gss/|krb5|pki/|"
    r"crypto-policies|adjtime|lsb-release|pip\.conf|xdg/)"
)
_CACHE = re.compile(
    r"/__pycache__/|/\.cache/|/\.(mypy|ruff|pytest|matplotlib|triton|nv|npm|cargo)(_cache)?/|"
    r"/matplotlib/fontlist|/torchinductor_|/\.ccache/|/fontconfig/|^/var/cache/"
)
_HUB = re.compile(r"/(huggingface|hub|torch/hub|kagglehub|modelscope)/|/\.keras/|/nltk_data/")
# A Hugging Face cache calls a large file by its SHA-256 and a small one by its git object id.
_BLOB = re.compile(r"/(model|dataset|space)s--[^/]+/blobs/([0-9a-f]+)(\.incomplete)?$")
_REPOSITORY = re.compile(r"/\.(git|hg|svn)/")
_SHARED_OBJECT = re.compile(r"\.so(\.\d+)*$|^/etc/ld\.so\.")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CODE_SUFFIXES = _words(
    ".py .pyx .pxd .ipynb .sh .bash .zsh .r .jl .rb .pl .pm .lua .js .mjs .ts .go .rs .c .h .cc "
    ".cpp .cxx .hpp .cu .cuh .java .scala .kt .swift .f90 .m .sql .awk .sed .mk .cmake .smk "
    ".nf .ninja .proto .hs .ml .php .cs"
)
_LIBRARY_SUFFIXES = _words(".dll .dylib .jar .whl .egg .pyi .mo")
_SUFFIXES: dict[str, frozenset[str]] = {
    "model": _words(
        ".pt .pth .ckpt .safetensors .gguf .ggml .onnx .joblib .keras .tflite .pb .mlmodel .h5 "
        ".hdf5 .caffemodel .pdparams .nemo .engine .llamafile .skops .cbm .ubj .model .distcp"
    ),
    "code": _CODE_SUFFIXES,
    "config": _words(
        ".yaml .yml .toml .ini .cfg .conf .env .properties .gin .hcl .editorconfig .lock"
    ),
    "library": _LIBRARY_SUFFIXES,
}
_CACHE_SUFFIXES = _words(".pyc .pyo .swp .nbi .nbc")

# Names that say more than their suffix does, or that have none; the first match counts.
_NAMES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("model", re.compile(r"(pytorch_)?model.*\.(bin|npz|pkl|pickle)")),
    ("model", re.compile(r".*(model|classif|estimator|pipeline).*\.(pkl|pickle)", re.I)),
    ("config", re.compile(r"requirements[\w.-]*\.txt|\.(env|gitignore|bashrc|profile)")),
    ("config", re.compile(r"(makefile|dockerfile|snakefile|cmakelists\.txt)", re.I)),
    (
        "config",
        re.compile(
            r"[\w.-]*(config|settings?|params?|hparams|options|args|package|tsconfig)[\w-]*"
            r"(\.(json|xml|txt))?",
            re.I,
        ),
    ),
)

# Each of those names holds one of these, in lower case; most names hold none.
_TELLS = re.compile(
    r"model|classif|estimator|pipeline|requirements|\.env|\.gitignore|\.bashrc|\.profile|file|"
    r"cmakelists|config|setting|param|options|args|package"
)
_BY_SUFFIX = {
    suffix: found for found, suffixes in reversed(_SUFFIXES.items()) for suffix in suffixes
}
_MAY_TELL = rf"{_TELLS.pattern}|\.so|torchinductor_|pyvenv\.cfg|^[0-9a-f]{{40}}"
_PLAIN_CLASS = _BY_SUFFIX | dict.fromkeys(_CACHE_SUFFIXES, "cache")


# What the folder of a path says of it, the strongest word first. Plain texts: this is asked of
# every new path, and members of an Enum take longer to reach than all the rest.
HIDDEN_PLACE = "no content"
SHARED_MEMORY = "content that does not outlive the boot"
REPOSITORY = "of a version control system"
CACHE = "cache"
PACKAGED_DATA = "data that is installed with a library"
PACKAGED = "installed"
SETTINGS = "settings of the system"
OWN = "somebody's own"


def class_of(path: str) -> str | None:
    """Return the class of an absolute path; None where files are no content (proc, sys, dev)."""
    folder, _, name = path.rpartition("/")
    place = None if name.startswith(_TELLING_NAMES) else _place_of_folder(folder)
    if place is None:
        place = _place(path)
    if place == HIDDEN_PLACE:
        return None
    suffix = _suffix(name)
    if suffix in _CACHE_SUFFIXES:
        return "cache"
    if place == OWN or (place == PACKAGED_DATA and suffix not in _INSTALLED_SUFFIXES):
        if ".so" in name and _SHARED_OBJECT.search(name):
            return "library"
        blob = _BLOB.search(path) if folder.endswith("/blobs") else None
        return _blob_class(blob) if blob else _content_class(name, suffix)
    if place not in _UNKEPT and ".so" in path and _SHARED_OBJECT.search(path):
        return "library"
    return _CLASS_OF_PLACE[place]


def classes_of(paths: Sequence[str]) -> list[str | None]:
    """Return the class of each path, as class_of does: most of a host's paths need no pattern."""
    cut = [path.rpartition("/") for path in paths]
    names = pa.array([name for _, _, name in cut], pa.string())
    tells = pc.match_substring_regex(names, _MAY_TELL, ignore_case=True).to_pylist()
    return [
        _PLAIN_CLASS.get(name[name.rfind(".") :].lower() if name.rfind(".") > 0 else "", "data")
        if not may_tell and _place_of_folder(folder) is OWN
        else class_of(path)
        for path, (folder, _, name), may_tell in zip(paths, cut, tells, strict=True)
    ]


_INSTALLED_SUFFIXES = _CODE_SUFFIXES | _LIBRARY_SUFFIXES
_UNKEPT = frozenset({SHARED_MEMORY, REPOSITORY})
_CLASS_OF_PLACE = {
    SHARED_MEMORY: "cache",
    REPOSITORY: "cache",
    CACHE: "cache",
    PACKAGED: "library",
    PACKAGED_DATA: "library",
    SETTINGS: "config",
}
# Below these the name itself decides what place it is; elsewhere only such a name does.
_OPEN_FOLDERS = ("/etc", "/lib", "/lib64", "/opt", "/usr/local", "/matplotlib")
_TELLING_NAMES = ("torchinductor_", "pyvenv.cfg")


@lru_cache(maxsize=FOLDERS_REMEMBERED)
def _place_of_folder(folder: str) -> str | None:
    """Return the place of whatever lies in a folder, None where the name decides.

    Many files lie in few folders, and the patterns are 20 times the cost of remembering.
    """
    return None if not folder or folder.endswith(_OPEN_FOLDERS) else _place(folder + "/")


def _place(path: str) -> str:
    """Return the place of a path, or of a folder that ends with a slash."""
    if _HIDDEN.match(path):
        in_memory = path.startswith("/dev/shm/")  # noqa: S108 -- a place to recognise, not to write
        return SHARED_MEMORY if in_memory else HIDDEN_PLACE
    if _REPOSITORY.search(path):
        return REPOSITORY
    if _CACHE.search(path) and not _HUB.search(path):
        return CACHE
    if _PACKAGES.search(path):
        return PACKAGED_DATA if _PACKAGED_DATA.search(path) else PACKAGED
    if _SYSTEM.match(path) or _TOOLING.search(path):
        return PACKAGED
    return SETTINGS if path.startswith("/etc/") else OWN


def executed_class(found: str | None) -> str | None:
    """Return the class of a file that was executed: a program of one's own is code."""
    return "code" if found == "data" else found


def _blob_class(blob: re.Match[str]) -> str:
    if blob[1] != "model":
        return "data"
    return "model" if len(blob[2]) == 64 else "config"


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return dot + suffix.lower() if stem else ""


def _content_class(name: str, suffix: str) -> str:
    if _TELLS.search(name.casefold()):
        for found, pattern in _NAMES:
            if pattern.fullmatch(name):
                return found
    return _BY_SUFFIX.get(suffix, "data")
