"""Answers of a collector, made by hand, that the tests of the client share."""

from __future__ import annotations

from typing import Any

from blake3 import blake3

from whence_proto.v1 import query_pb2 as wire

SECOND_NS = 1_000_000_000
NOW_NS = 1_795_000_000 * SECOND_NS
CWD = "/home/alice/proj"
MODEL = b"weights of a small model"
MODEL_DIGEST = "blake3:" + blake3(MODEL).hexdigest()
DATA_DIGEST, CODE_DIGEST, RAW_DIGEST, RULES_DIGEST = ("blake3:" + d * 64 for d in "123c")
TRAIN_ID, PREPARE_ID, COPY_ID = "4f0c9a1e3b2d1c00", "a1b2c3d4e5f60718", "77d1e1a0aaaabbbb"


def run(run_id: str, command: str, began_s: int, took_s: float, **more: Any) -> wire.RunSummary:
    """Return a finished run of alice that began so many seconds before NOW_NS."""
    began_ns = NOW_NS - began_s * SECOND_NS
    values: dict[str, Any] = {
        "kind": "job",
        "host": "gpu-07",
        "user": "alice",
        "started_unix_ns": began_ns,
        "ended_unix_ns": began_ns + int(took_s * SECOND_NS),
        "status": "succeeded",
        "exit_code": 0,
        "cwd": CWD,
        "complete": True,
    }
    return wire.RunSummary(run_id=run_id, command=command, **(values | more))


def edge(path: str, digest: str | None, kind: str, **more: Any) -> wire.FileEdge:
    """Return a file on one side of a run."""
    state = {"state": "verified"} if digest else {}
    return wire.FileEdge(path=path, digest=digest, **({"class": kind} | state | more))


def prepare() -> wire.RunSummary:
    return run(PREPARE_ID, "python prepare.py", 600, 10)


def train(**more: Any) -> wire.RunSummary:
    code = {
        "git_commit": "a1b2c3d4" * 5,
        "git_branch": "main",
        "git_dirty": True,
        "git_modified": ["train.py"],
        "git_repository": CWD,
    }
    return run(TRAIN_ID, "python train.py --epochs 3", 192, 12, **(code | more))


def copy() -> wire.RunSummary:
    return run(COPY_ID, "cp model.pt best.pt", 30, 0.003)


def inputs() -> list[wire.FileEdge]:
    made = {"producer_run_id": PREPARE_ID, "producer_command": "python prepare.py"}
    return [
        edge(f"{CWD}/prepared.npz", DATA_DIGEST, "data", size_bytes=1_234_567, **made),
        edge(f"{CWD}/train.py", CODE_DIGEST, "code", size_bytes=2_300),
        edge("/data/rules.csv", RULES_DIGEST, "data", size_bytes=512),
    ]


def raw() -> wire.FileEdge:
    return edge("/data/raw.csv", RAW_DIGEST, "data", size_bytes=1_200_000)


def model_edge(**more: Any) -> wire.FileEdge:
    return edge(f"{CWD}/model.pt", MODEL_DIGEST, "model", size_bytes=len(MODEL), **more)


def trained() -> wire.Production:
    return wire.Production(
        run=train(),
        process=wire.ProcessSummary(pid=4711, argv=["python", "train.py", "--epochs", "3"]),
        path=f"{CWD}/model.pt",
        written_unix_ns=NOW_NS - 181 * SECOND_NS,
        inputs=inputs(),
        library_count=214,
        root_inputs=[inputs()[2], raw()],
        ancestry=[prepare()],
        complete=True,
    )


def copied() -> wire.Production:
    return wire.Production(
        run=copy(), path=f"{CWD}/best.pt", inputs=[model_edge()], ancestry=[train()], complete=True
    )


def found() -> wire.FindReply:
    """The trained model, of which a copy was made later."""
    artifact = wire.Artifact(
        digest=MODEL_DIGEST, size_bytes=len(MODEL), last_path=f"{CWD}/best.pt", host="gpu-07"
    )
    return wire.FindReply(artifact=artifact, productions=[copied(), trained()], consumers=[copy()])


def overwritten() -> wire.FindReply:
    """A path that held three contents, one of them never hashed, none of them known now."""
    path, host = f"{CWD}/model.pt", "gpu-07"
    ages = (("torn", "it was overwritten at once", 60), ("unhashed", None, 120))
    versions = [
        wire.PathVersion(
            op="write",
            run=train(),
            at_unix_ns=NOW_NS - age * SECOND_NS,
            host=host,
            path=path,
            state=state,
            reason=reason,
        )
        for state, reason, age in ages
    ]
    known = wire.PathVersion(
        op="read",
        run=copy(),
        at_unix_ns=NOW_NS - 7200 * SECOND_NS,
        host=host,
        path=path,
        state="verified",
        digest=MODEL_DIGEST,
    )
    pending = wire.PathVersion(op="write", host=host, path=path)
    return wire.FindReply(path_versions=[*versions, known, pending])


def detail() -> wire.RunDetail:
    process = wire.ProcessSummary(
        process_id="9", pid=4711, argv=["python", "train.py", "--epochs", "3"], exit_code=0
    )
    return wire.RunDetail(
        run=train(),
        processes=[process],
        inputs=inputs(),
        outputs=[model_edge(producer_run_id=TRAIN_ID, producer_command="python train.py")],
        library_count=214,
    )


def lineage() -> wire.LineageReply:
    """raw.csv → prepare → prepared.npz → train (with train.py) → model.pt."""
    files = [
        _node(MODEL_DIGEST, f"{CWD}/model.pt", "model", len(MODEL), False),
        _node(DATA_DIGEST, f"{CWD}/prepared.npz", "data", 1_234_567, False),
        _node(CODE_DIGEST, f"{CWD}/train.py", "code", 2_300, True),
        _node(RAW_DIGEST, "/data/raw.csv", "data", 1_200_000, True),
    ]
    edges = [
        wire.LineageEdge(run_id=TRAIN_ID, file_key=MODEL_DIGEST, write=True),
        wire.LineageEdge(run_id=TRAIN_ID, file_key=DATA_DIGEST),
        wire.LineageEdge(run_id=TRAIN_ID, file_key=CODE_DIGEST),
        wire.LineageEdge(run_id=PREPARE_ID, file_key=DATA_DIGEST, write=True),
        wire.LineageEdge(run_id=PREPARE_ID, file_key=RAW_DIGEST),
    ]
    return wire.LineageReply(
        start=MODEL_DIGEST, runs=[train(), prepare()], files=files, edges=edges, complete=True
    )


def _node(digest: str, path: str, kind: str, size_bytes: int, root: bool) -> wire.LineageFile:
    return wire.LineageFile(
        key=digest, path=path, digest=digest, size_bytes=size_bytes, root=root, **{"class": kind}
    )


def status(**more: Any) -> wire.StatusReply:
    daemon = wire.DaemonStatus(
        host="gpu-07",
        connected=True,
        last_batch_unix_ns=NOW_NS - 5 * SECOND_NS,
        daemon_version="0.1.0",
        kernel="6.18.0",
        back_end="tp_btf",
        missing_capabilities=["io_uring"],
    )
    values: dict[str, Any] = {"daemons": [daemon], "rows": {"process": 7, "access": 1_234}}
    values |= {"version": "0.1.0", "schema_version": 1, "disk_free_bytes": 10**11}
    return wire.StatusReply(**(values | more))
