"""Paths as they occur on training hosts, and the class that each must get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whence_collector.classes import class_of, classes_of, executed_class

SITE = "/home/ada/venv/lib/python3.11/site-packages"
CASES = {
    "/home/ada/p/train.py": "code",
    "/home/ada/p/run.sh": "code",
    "/home/ada/p/analysis.ipynb": "code",
    "/home/ada/p/kernel.cu": "code",
    f"{SITE}/torch/nn/modules/linear.py": "library",
    f"{SITE}/numpy/core/_multiarray.cpython-311-x86_64-linux-gnu.so": "library",
    f"{SITE}/sklearn/datasets/data/wine_data.csv": "data",
    f"{SITE}/sklearn/datasets/data/digits.csv.gz": "data",
    f"{SITE}/sklearn/datasets/data/__init__.py": "library",
    f"{SITE}/numpy-2.0.dist-info/METADATA": "library",
    f"{SITE}/torch/lib/libtorch.so": "library",
    f"{SITE}/x/__pycache__/y.cpython-311.pyc": "cache",
    "/usr/lib/python3/dist-packages/yaml/__init__.py": "library",
    "/usr/lib/python3.11/json/decoder.py": "library",
    "/usr/local/lib/python3.11/os.py": "library",
    "/usr/lib/x86_64-linux-gnu/libc.so.6": "library",
    "/lib/x86_64-linux-gnu/libm.so.6": "library",
    "/etc/ld.so.cache": "library",
    "/usr/share/zoneinfo/UTC": "library",
    "/usr/share/locale/locale.alias": "library",
    "/usr/lib/locale/C.utf8/LC_CTYPE": "library",
    "/usr/bin/python3.11": "library",
    "/bin/sh": "library",
    "/etc/passwd": "library",
    "/etc/hosts": "library",
    "/home/ada/p/config.yaml": "config",
    "/home/ada/p/params.toml": "config",
    "/home/ada/p/config.json": "config",
    "/home/ada/p/training_args.json": "config",
    "/home/ada/p/requirements.txt": "config",
    "/home/ada/p/Makefile": "config",
    "/home/ada/p/.env": "config",
    "/data/annotations.json": "data",
    "/data/train.jsonl": "data",
    "/data/raw.csv": "data",
    "/data/shard-0001.tar": "data",
    "/data/images/cat.png": "data",
    "/data/tokens.bin": "data",
    "/data/features.npz": "data",
    "/data/readme": "data",
    "/data/table.parquet": "data",
    "/data/samples.pkl": "data",
    "/out/model.pt": "model",
    "/out/model.pkl": "model",
    "/out/best_classifier.pickle": "model",
    "/out/model.npz": "model",
    "/out/pytorch_model.bin": "model",
    "/out/pytorch_model-00001-of-00002.bin": "model",
    "/out/model.safetensors": "model",
    "/out/epoch-3.ckpt": "model",
    "/out/llama.gguf": "model",
    "/out/net.onnx": "model",
    "/out/model.joblib": "model",
    "/out/weights.h5": "model",
    "/home/ada/.cache/huggingface/hub/models--gpt2/snapshots/1/model.safetensors": "model",
    "/home/ada/.cache/huggingface/hub/datasets--x/blobs/abc": "data",
    "/home/ada/.cache/torch/hub/checkpoints/resnet50.pth": "model",
    "/home/ada/.cache/matplotlib/fontlist-v390.json": "cache",
    "/home/ada/.cache/pip/http/a": "cache",
    "/home/ada/p/.mypy_cache/x.json": "cache",
    "/home/ada/p/.git/index": "cache",
    "/home/ada/p/mod.pyc": "cache",
    "/dev/shm/sem.x": "cache",
    "/dev/null": None,
    "/proc/self/maps": None,
    "/sys/devices/system/cpu/online": None,
    "/process/data.csv": "data",
    "/home/ada/lib/table.csv": "data",
    "/home/ada/data/site.csv": "data",
}


@pytest.mark.parametrize(("path", "expected"), CASES.items())
def test_class_of_path(path: str, expected: str | None) -> None:
    found = class_of(path)

    assert expected == found


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/ada/p/prog", "code"),
        ("/usr/bin/ls", "library"),
        ("/home/ada/p/libx.so", "library"),
        ("/home/ada/p/run.sh", "code"),
    ],
)
def test_class_of_what_was_executed(path: str, expected: str) -> None:
    found = executed_class(class_of(path))

    assert expected == found


# Folders in which the name decides, after and before a name that does not.
BESIDE = {
    ("/opt/run.py", "/opt/cuda-12"): ("code", "library"),
    ("/etc/app.yaml", "/etc/hosts"): ("config", "library"),
    ("/home/ada/p/matplotlib/plot.py", "/home/ada/p/matplotlib/fontlist-v1"): ("code", "cache"),
    ("/home/ada/env/a.csv", "/home/ada/env/pyvenv.cfg"): ("data", "library"),
    ("/tmp/x/a.csv", "/tmp/x/torchinductor_ada"): ("data", "cache"),
    ("/data.csv", "/proc"): ("data", None),
    ("/home/ada/lib/a.csv", "/home/ada/lib/python3"): ("data", "library"),
}


@pytest.mark.parametrize(("paths", "expected"), BESIDE.items())
def test_what_is_remembered_of_a_folder_does_not_speak_for_every_name(
    paths: tuple[str, str], expected: tuple[str, str | None]
) -> None:
    first, second = paths

    assert (class_of(first), class_of(second), class_of(first)) == (*expected, expected[0])


FOLDERS = ("", "/", "/home/a/", "/usr/lib/", "/etc/", "/proc/1/", "/w/.git/", "/w/__pycache__/")
NAMES = st.sampled_from(
    ["model.PKL", "part-1.bin", "a.so.2", "x.py", "MODEL_1.npz", "pyvenv.cfg", "Makefile", "x.pyc"]
) | st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.tuples(st.sampled_from(FOLDERS), NAMES)))
def test_many_paths_at_once_get_the_classes_that_each_gets_alone(
    parts: list[tuple[str, str]],
) -> None:
    paths = [folder + name for folder, name in parts]

    assert list(map(class_of, paths)) == classes_of(paths)
