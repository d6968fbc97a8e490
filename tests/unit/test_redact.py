"""What is a secret on a command line and what only looks like one. All values are made up."""

from __future__ import annotations

import pytest

from whenced.redact import (
    names_secret,
    redact_arguments,
    redact_environment,
    redact_url,
    strip_credentials,
)

HEX40 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
HEX64 = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
ALNUM36 = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0ZXN0In0.c2lnbmF0dXJlLWlzLWZha2U"
PEM = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA==\n-----END OPENSSH PRIVATE KEY-----"

# (argv before, argv after); R stands for the replacement.
R = "[redacted]"
SECRETS: list[tuple[list[str], list[str]]] = [
    (["train", "--password", "hunter2"], ["train", "--password", R]),
    (["train", "--password=hunter2"], ["train", f"--password={R}"]),
    (["train", "--token=abc123"], ["train", f"--token={R}"]),
    (["train", "--token", "abc123"], ["train", "--token", R]),
    (["train", "-token", "abc123"], ["train", "-token", R]),
    (["train", "--hf-token", "abc"], ["train", "--hf-token", R]),
    (["train", "--hf_token=abc"], ["train", f"--hf_token={R}"]),
    (["train", "--api-key", HEX40], ["train", "--api-key", R]),
    (["train", "--apiKey=zzz"], ["train", f"--apiKey={R}"]),
    (["train", "--api_key", "zzz"], ["train", "--api_key", R]),
    (["train", "--client-secret", "s3"], ["train", "--client-secret", R]),
    (["train", "--db-passwd=x1"], ["train", f"--db-passwd={R}"]),
    (["train", "--secret-access-key", "x/y"], ["train", "--secret-access-key", R]),
    (["train", "--key-passphrase", "open"], ["train", "--key-passphrase", R]),
    (["train", "--oauth2-bearer", "zz9"], ["train", "--oauth2-bearer", R]),
    (["train", "--password", "12345"], ["train", "--password", R]),
    (["train", "+wandb.api_key=" + HEX40], ["train", f"+wandb.api_key={R}"]),
    (["env", "WANDB_API_KEY=" + HEX40, "python"], ["env", f"WANDB_API_KEY={R}", "python"]),
    (["env", "PGPASSWORD=hunter2", "psql"], ["env", f"PGPASSWORD={R}", "psql"]),
    (["env", "MYSQL_PWD=hunter2", "x"], ["env", f"MYSQL_PWD={R}", "x"]),
    (["env", "HF_TOKEN=abc", "python"], ["env", f"HF_TOKEN={R}", "python"]),
    (["docker", "run", "-e", "DB_PASS=p4"], ["docker", "run", "-e", f"DB_PASS={R}"]),
    (["echo", "AKIAIOSFODNN7EXAMPLE"], ["echo", R]),
    (["echo", "ASIAIOSFODNN7EXAMPLE"], ["echo", R]),
    (["echo", "ghp_" + ALNUM36], ["echo", R]),
    (["echo", "gho_" + ALNUM36], ["echo", R]),
    (["echo", "github_pat_11ABCDEFG0_" + ALNUM36], ["echo", R]),
    (["echo", "hf_" + ALNUM36[:34]], ["echo", R]),
    (["echo", "sk-" + ALNUM36], ["echo", R]),
    (["echo", "sk-proj-" + ALNUM36 + "_x-y"], ["echo", R]),
    (["echo", "sk-ant-api03-" + ALNUM36], ["echo", R]),
    (["echo", "sk_live_" + ALNUM36], ["echo", R]),
    (["echo", "xoxb-123456789012-abcdefABCDEF"], ["echo", R]),
    (["echo", "xoxp-123456789012-abcdefABCDEF"], ["echo", R]),
    (["echo", "glpat-aB3dE6gH9jK2mN5pQ8"], ["echo", R]),
    (["echo", "AIza" + ALNUM36[:35]], ["echo", R]),
    (["echo", "npm_" + ALNUM36], ["echo", R]),
    (["echo", JWT], ["echo", R]),
    (["echo", PEM], ["echo", R]),
    (["echo", "key: " + PEM + " end"], ["echo", f"key: {R} end"]),
    (["git", "clone", "https://me:pw@host/r.git"], ["git", "clone", f"https://me:{R}@host/r.git"]),
    (["x", "postgresql://u:p%40ss@db:5432/d"], ["x", f"postgresql://u:{R}@db:5432/d"]),
    (["x", "redis://:pw@cache:6379/0"], ["x", f"redis://:{R}@cache:6379/0"]),
    (["x", f"https://{HEX40}@host/r"], ["x", f"https://{R}@host/r"]),
    (["x", "https://h/p?access_token=abc&n=1"], ["x", f"https://h/p?access_token={R}&n=1"]),
    (["x", "https://h/p?X-Amz-Signature=abc"], ["x", f"https://h/p?X-Amz-Signature={R}"]),
    (["x", "https://b/c?sv=2024&sig=a%2Fb"], ["x", f"https://b/c?sv=2024&sig={R}"]),
    (["curl", "-H", "Authorization: Bearer abc"], ["curl", "-H", f"Authorization: Bearer {R}"]),
    (["curl", "-H", "authorization: Basic YTpi"], ["curl", "-H", f"authorization: Basic {R}"]),
    (["curl", "-HAuthorization: token abc"], ["curl", f"-HAuthorization: token {R}"]),
    (["curl", "-H", "X-Api-Key: abc"], ["curl", "-H", f"X-Api-Key: {R}"]),
    (["curl", "-H", "PRIVATE-TOKEN: abc"], ["curl", "-H", f"PRIVATE-TOKEN: {R}"]),
    (["curl", "-H", "Cookie: session=abc"], ["curl", "-H", f"Cookie: {R}"]),
    (["curl", "-u", "me:pw", "https://h"], ["curl", "-u", f"me:{R}", "https://h"]),
    (["curl", "-ume:pw"], ["curl", f"-ume:{R}"]),
    (["curl", "--user", "tok:"], ["curl", "--user", f"{R}:"]),
    (["/usr/bin/mysql", "-phunter2", "db"], ["/usr/bin/mysql", f"-p{R}", "db"]),
    (["sudo", "mysqldump", "-pabc"], ["sudo", "mysqldump", f"-p{R}"]),
    (["sshpass", "-p", "pw", "ssh", "h"], ["sshpass", "-p", R, "ssh", "h"]),
    (["docker", "login", "-u", "me", "-p", "pw"], ["docker", "login", "-u", "me", "-p", R]),
    (["redis-cli", "-a", "pw"], ["redis-cli", "-a", R]),
    (["openssl", "enc", "-passin", "pass:abc"], ["openssl", "enc", "-passin", f"pass:{R}"]),
    (
        ["aws", "configure", "set", "aws_secret_access_key", "q/w+e"],
        ["aws", "configure", "set", "aws_secret_access_key", R],
    ),
    (["x", '{"api_key": "abc", "lr": 1}'], ["x", f'{{"api_key": "{R}", "lr": 1}}']),
    (["python", "-c", "token = 'abc'; go(token)"], ["python", "-c", f"token = '{R}'; go(token)"]),
    (["sh", "-c", "train --token abc --lr 1"], ["sh", "-c", f"train --token {R} --lr 1"]),
    (["sh", "-c", "HF_TOKEN=abc train"], ["sh", "-c", f"HF_TOKEN={R} train"]),
    (["sh", "-c", "export A_SECRET='a b'; go"], ["sh", "-c", f"export A_SECRET='{R}'; go"]),
    (["sh", "-c", "cd /x && mysql -pabc | cat"], ["sh", "-c", f"cd /x && mysql -p{R} | cat"]),
    (["sh", "-c", "curl -u 'me:pw' http://h"], ["sh", "-c", f"curl -u 'me:{R}' http://h"]),
    (["ssh", "h", "sh -c 'go --password pw'"], ["ssh", "h", f"sh -c 'go --password {R}'"]),
    (
        ["bash", "-lc", 'curl -H "Authorization: Bearer abc" h'],
        ["bash", "-lc", f'curl -H "Authorization: Bearer {R}" h'],
    ),
]

HARMLESS: list[list[str]] = [
    ["pip", "install", "tiktoken==0.7", "sk-learn", "tokenizers>=0.19"],
    ["python", "-m", "sklearn.datasets"],
    ["train", "--tokenizer-path", "models/tokenizer.json"],
    ["train", "--tokenizer", "gpt2", "--tokenizer_name=bert-base-cased"],
    ["train", "--max-tokens", "100", "--max_new_tokens=64", "--num-tokens", "5"],
    ["train", "--pad-token", "<pad>", "--eos_token=</s>", "--bos-token", "<s>"],
    ["train", "tokenizer.pad_token=[PAD]", "model.mask_token=[MASK]"],
    ["train", "--token-type-ids", "0,1", "--token-limit", "4096"],
    ["train", "--password-file", "/run/pw", "--token-file=/run/t", "--secret-name", "db"],
    ["train", "--key", "label", "--sort-key", "date", "--primary-key=id", "--keys", "a,b"],
    ["train", "--private-key", "/home/me/.ssh/id_ed25519"],
    ["env", "GOOGLE_APPLICATION_CREDENTIALS=/etc/gcp.json", "python"],
    ["env", "PWD=/home/me", "OLDPWD=/tmp", "TOKENIZERS_PARALLELISM=false"],
    ["git", "checkout", HEX40],
    ["whence", "blake3:" + HEX64],
    ["x", "123e4567-e89b-12d3-a456-426614174000"],
    ["x", "sha256:" + HEX64, "--revision", HEX40],
    ["x", "https://host/path?tokens=3&page=2", "s3://bucket/key=value/part.parquet"],
    ["x", "https://medium.com/@someone/post", "ssh://git@host/r.git", "git@host:r.git"],
    ["x", "http://localhost:8080/metrics", "http://[::1]:9000/a@b"],
    ["curl", "-u", "me", "https://host"],
    ["python", "-u", "train.py", "-p", "8080"],
    ["mysql", "-p", "db", "--port=3306"],
    ["train", "--token", "$HF_TOKEN", "--password=${PW}"],
    ["sh", "-c", 'train --token "$HF_TOKEN" --lr 0.1 && echo "done: ok"'],
    ["train", "--use-auth-token", "--verbose"],
    ["train", "--use_auth_token=True", "--push-token", "none"],
    ["echo", "task-" + ALNUM36, "disk-" + ALNUM36, "hf_dataset_loader_for_all_the_things"],
    ["echo", "sk-some-long-package-name-with-dashes", "eyJ.short", "AKIASHORT"],
    ["train", "--bypass", "yes", "--compass=north", "--passes", "3", "--pass", "2"],
    ["train", "--author", "me", "--authority=x", "--monkey", "d", "--keyboard=us"],
    ["python", "-c", "tokenizer = 'gpt2'; tokens = 'a b'; key = 'label'"],
    ["x", '{"tokenizer": "gpt2", "pad_token": "<pad>", "key": "label"}'],
    ["x", "Content-Type: application/json", "note: the token ring"],
    ["bash", "-c", 'for f in *.txt; do wc -l "$f" | sort -k 2; done > out 2>&1'],
    ["bash", "-c", "echo it's  odd   spacing\t&& true"],
    ["", " ", "-", "--", "=", "a=", "=b"],
]


@pytest.mark.parametrize(("argv", "expected"), SECRETS, ids=lambda argv: " ".join(argv)[:50])
def test_a_secret_is_replaced_and_all_else_stays(argv: list[str], expected: list[str]) -> None:
    assert redact_arguments(argv) == tuple(expected)


@pytest.mark.parametrize("argv", HARMLESS, ids=lambda argv: " ".join(argv)[:50])
def test_what_is_no_secret_stays(argv: list[str]) -> None:
    assert redact_arguments(argv) == tuple(argv)


@pytest.mark.parametrize(("argv", "expected"), SECRETS, ids=lambda argv: " ".join(argv)[:50])
def test_redacting_twice_changes_nothing(argv: list[str], expected: list[str]) -> None:
    assert redact_arguments(redact_arguments(argv)) == tuple(expected)


def test_environment_values_go_by_name_and_by_looks() -> None:
    environment = {
        "AWS_SECRET_ACCESS_KEY": "abc/def",
        "DATABASE_URL": "postgres://u:p@h/d",
        "PATH": "/usr/bin:/bin",
        "LS_COLORS": "di=01;34:*.pem=01;31",
        "SSH_AUTH_SOCK": "/run/agent",
        "NOTE": "use ghp_" + ALNUM36,
    }
    expected = {
        **environment,
        "AWS_SECRET_ACCESS_KEY": R,
        "DATABASE_URL": f"postgres://u:{R}@h/d",
        "NOTE": f"use {R}",
    }

    assert redact_environment(environment) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://me:pw@host/r.git", f"https://me:{R}@host/r.git"),
        ("https://x-access-token:ghs_abc@github.com/a/b", None),
        ("https://host/r.git", "https://host/r.git"),
        ("git@host:a/b.git", "git@host:a/b.git"),
    ],
)
def test_urls_lose_their_password(url: str, expected: str | None) -> None:
    assert redact_url(url) == (expected or f"https://x-access-token:{R}@github.com/a/b")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://me:pw@host/r.git", "https://host/r.git"),
        ("https://token@host/r.git", "https://host/r.git"),
        ("ssh://git@host/r.git", "ssh://git@host/r.git"),
        ("ssh://git:pw@host/r.git", "ssh://host/r.git"),
        ("/srv/git/r.git", "/srv/git/r.git"),
    ],
)
def test_a_remote_keeps_no_credentials(url: str, expected: str) -> None:
    assert strip_credentials(url) == expected


@pytest.mark.parametrize(
    ("name", "secret"),
    [("GITHUB_TOKEN", True), ("accessToken", True), ("token_count", False), ("PWD", False)],
)
def test_the_last_word_of_a_name_decides(name: str, secret: bool) -> None:
    assert names_secret(name) is secret
