"""Which variables of an environment are kept, and what of their values. Data and pure functions.

Only names of this list leave the function, each value without secrets: whatever else an
environment holds is dropped here, before it is stored, sent or compared.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from whenced.redact import names_secret, redact_environment

if TYPE_CHECKING:
    from collections.abc import Iterable

Variables = tuple[tuple[str, str], ...]

VALUE_LIMIT: Final = 4096  # characters of one value
VARIABLES_LIMIT: Final = 256
# A shell and all that it starts have one environment: told apart and cut once.
_KNOWN: Final = 512

#: Names that are kept; * stands for any letters, digits and underscores.
ALLOWED: Final = (
    # what later parts look up
    "WHENCE_REQUEST WHENCE_CLAIM WHENCE_PROJECT WHENCE_AGENT "
    # who runs what where: schedulers and launchers of many ranks
    "SLURM_* SLURMD_NODENAME PBS_JOBID PBS_JOBNAME PBS_NODENUM LSB_JOBID LSB_JOBNAME JOB_ID "
    "JOB_NAME KUBERNETES_SERVICE_HOST POD_NAME POD_UID POD_NAMESPACE JOB_COMPLETION_INDEX "
    "JOBSET_NAME RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK GROUP_WORLD_SIZE "
    "ROLE_RANK ROLE_NAME ROLE_WORLD_SIZE NODE_RANK MASTER_ADDR MASTER_PORT TORCHELASTIC_* "
    "OMPI_COMM_WORLD_* OMPI_MCA_ess_base_jobid PMIX_NAMESPACE PMIX_RANK PMI_RANK PMI_SIZE "
    "PMI_JOBID MPI_LOCALRANKID RAY_JOB_ID RAY_ADDRESS RAY_CLUSTER_NAME RAY_NODE_ID "
    "RAY_RAYLET_PID RAY_WORKER_MODE ACCELERATE_* DEEPSPEED_* AIRFLOW_CTX_* PREFECT__FLOW_* "
    "DAGSTER_RUN_ID DVC_STAGE DVC_ROOT DVC_EXP_NAME MAKELEVEL SNAKEMAKE_* NXF_TASK_* "
    "METAFLOW_RUN_ID METAFLOW_STEP_NAME WANDB_RUN_ID WANDB_PROJECT WANDB_ENTITY WANDB_SWEEP_ID "
    "MLFLOW_RUN_ID MLFLOW_EXPERIMENT_NAME INVOCATION_ID JPY_PARENT_PID JPY_SESSION_NAME "
    "GITHUB_ACTIONS GITHUB_RUN_ID GITHUB_REPOSITORY GITHUB_SHA GITLAB_CI CI CI_JOB_ID "
    "CI_PIPELINE_ID JENKINS_URL BUILD_TAG BUILDKITE_BUILD_ID "
    # agents and the programs that host them
    "CLAUDECODE CLAUDE_CODE_ENTRYPOINT CODEX_SANDBOX CODEX_* CURSOR_AGENT CURSOR_TRACE_ID "
    "AIDER_* GEMINI_CLI OPENCODE OPENCODE_* GOOSE_TERMINAL CLINE_ACTIVE AMP_* AI_AGENT AGENT "
    "TERM_PROGRAM SUDO_USER SUDO_UID SSH_ORIGINAL_COMMAND "
    # what changes results
    "PYTHONHASHSEED *SEED SEED_* *_SEED_* CUBLAS_WORKSPACE_CONFIG CUDA_VISIBLE_DEVICES "
    "CUDA_DEVICE_ORDER CUDA_LAUNCH_BLOCKING CUDA_HOME CUDA_PATH CUDA_MODULE_LOADING "
    "NVIDIA_VISIBLE_DEVICES NVIDIA_TF32_OVERRIDE ROCR_VISIBLE_DEVICES HIP_VISIBLE_DEVICES "
    "XLA_FLAGS JAX_PLATFORMS JAX_ENABLE_X64 TF_DETERMINISTIC_OPS TF_CUDNN_DETERMINISTIC "
    "TF_XLA_FLAGS TF_FORCE_GPU_ALLOW_GROWTH TORCH_* PYTORCH_* NCCL_* GLOO_SOCKET_IFNAME "
    "OMP_* MKL_* OPENBLAS_* NUMEXPR_* KMP_* VECLIB_MAXIMUM_THREADS RAYON_NUM_THREADS "
    "TOKENIZERS_PARALLELISM FLASH_ATTENTION_* VLLM_* BITSANDBYTES_* "
    # where code and libraries come from
    "PATH PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONOPTIMIZE PYTHONDONTWRITEBYTECODE "
    "PYTHONUNBUFFERED PYTHONNOUSERSITE PYTHONUTF8 PYTHONIOENCODING VIRTUAL_ENV CONDA_PREFIX "
    "CONDA_DEFAULT_ENV PIXI_PROJECT_ROOT POETRY_ACTIVE PYENV_VERSION UV_PROJECT_ENVIRONMENT "
    "LD_LIBRARY_PATH LD_PRELOAD JULIA_PROJECT R_LIBS NODE_PATH NODE_ENV "
    "HF_HOME HF_HUB_CACHE HF_HUB_OFFLINE HF_DATASETS_CACHE HF_DATASETS_OFFLINE "
    "HUGGINGFACE_HUB_CACHE TRANSFORMERS_CACHE TRANSFORMERS_OFFLINE TORCH_HOME XDG_CACHE_HOME "
    "TMPDIR LANG LC_ALL LC_NUMERIC TZ container"
)


def _pattern(names: str) -> re.Pattern[str]:
    return re.compile("|".join(name.replace("*", r"\w*") for name in names.split()))


_ALLOWED: Final = _pattern(ALLOWED)
_SEED: Final = re.compile(r".*SEED.*")
#: Words as the value of a seed are the key of somebody's purse.
_SEED_VALUE: Final = re.compile(r"-?\d{1,20}|random|", re.ASCII)
_NAME: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")


def is_allowed(name: str) -> bool:
    """Say whether a variable of this name may be kept: it is listed, and names no secret."""
    listed = _ALLOWED.fullmatch(name) is not None
    return listed and not names_secret(name)


@lru_cache(_KNOWN)
def variables_of(raw: bytes) -> Variables:
    """Return the allowed variables of an environment block (NAME=value, each ended by NUL).

    Sorted by name; of a name that is there twice, the first counts, as for getenv(3).
    """
    return kept(_pairs(raw))


def _pairs(raw: bytes) -> Iterable[tuple[str, str]]:
    for entry in raw.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals and _NAME.match(name):
            yield name.decode("ascii"), value.decode("utf-8", "backslashreplace")


def kept(pairs: Iterable[tuple[str, str]]) -> Variables:
    """Return what of an environment is kept: allowed names, values short and without secrets."""
    chosen: dict[str, str] = {}
    for name, value in pairs:
        is_seed = _SEED.fullmatch(name) is not None
        if name in chosen or not is_allowed(name):
            continue
        if not is_seed or _SEED_VALUE.fullmatch(value):
            chosen[name] = value
    redacted = redact_environment(chosen)
    cut = ((name, value[:VALUE_LIMIT]) for name, value in redacted.items())
    return tuple(sorted(cut)[:VARIABLES_LIMIT])
