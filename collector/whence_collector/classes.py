"""What kind of file a path is: data, code, config, library, cache or model.

Pure and by name alone, so that the same path always gets the same class; content is not read.
"""

from __future__ import annotations

import re

CLASSES = ("data", "code", "config", "library", "cache", "model")
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
_REPOSITORY = re.compile(r"/\.(git|hg|svn)/")
_SHARED_OBJECT = re.compile(r"\.so(\.\d+)*$|^/etc/ld\.so\.")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CODE_SUFFIXES = _words(
    ".py .pyx .pxd .ipynb .sh .bash .zsh .r .jl .rb .pl .pm .lua .js .mjs .ts .go .rs .c .h .cc "
    ".cpp .cxx .hpp .cu .cuh .java .scala .kt .swift .f90 .m .sql .awk .sed .mk .cmake .smk "
    ".nf .ninja .proto .hs .ml .php .cs"
)
_LIBRARY_SUFFIXES = _words(".a .o .dll .dylib .jar .whl .egg .pyi .mo")
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


def class_of(path: str) -> str | None:
    """Return the class of an absolute path; None where files are no content (proc, sys, dev)."""
    if _HIDDEN.match(path):
        return "cache" if path.startswith("/dev/shm/") else None  # noqa: S108 -- a place to recognise, not to write
    name = path.rpartition("/")[2]
    suffix = _suffix(name)
    if suffix in _CACHE_SUFFIXES or _REPOSITORY.search(path):
        return "cache"
    if _SHARED_OBJECT.search(path):
        return "library"
    if _CACHE.search(path) and not _HUB.search(path):
        return "cache"
    if _PACKAGES.search(path) or _SYSTEM.match(path) or _TOOLING.search(path):
        return _packaged_class(path, name, suffix)
    return "config" if path.startswith("/etc/") else _content_class(name, suffix)


def executed_class(found: str | None) -> str | None:
    """Return the class of a file that was executed: a program of one's own is code."""
    return "code" if found == "data" else found


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return dot + suffix.lower() if stem else ""


def _packaged_class(path: str, name: str, suffix: str) -> str:
    """Of what is installed, only data sets are not part of the library."""
    is_data = suffix not in _CODE_SUFFIXES | _LIBRARY_SUFFIXES
    if is_data and _PACKAGES.search(path) and _PACKAGED_DATA.search(path):
        return _content_class(name, suffix)
    return "library"


def _content_class(name: str, suffix: str) -> str:
    by_name = (found for found, pattern in _NAMES if pattern.fullmatch(name))
    by_suffix = (found for found, suffixes in _SUFFIXES.items() if suffix in suffixes)
    return next(by_name, None) or next(by_suffix, "data")
