"""Secrets in the shapes that their issuers give them; every value here is made up.

None of them may ever be found in what a daemon stores or sends.
"""

from __future__ import annotations

_LETTERS = "aB3dE6gH9jK2mN5pQ8rS1tU4vW7xY0zC"
_HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

#: Tokens that are known by their looks wherever they stand.
TOKENS: tuple[str, ...] = (
    "AKIA" + "QWERTYUIOPASDF12",  # AWS access key id
    "ASIA" + "QWERTYUIOPASDF12",
    "ghp_" + _LETTERS + "aB3d",  # GitHub
    "gho_" + _LETTERS + "aB3d",
    "ghs_" + _LETTERS + "aB3d",
    "github_pat_11ABCDEFG0" + _LETTERS + "_" + _LETTERS,
    "glpat-" + _LETTERS[:20],  # GitLab
    "hf_" + _LETTERS + "ab",  # Hugging Face
    "hf_" + _LETTERS + "abcdef",
    "api_org_" + _LETTERS + "ab",
    "sk-" + _LETTERS + "0123456789abcdef",  # OpenAI
    "sk-proj-" + _LETTERS + "_" + _LETTERS,
    "sk-ant-api03-" + _LETTERS + "-" + _LETTERS + "AA",  # Anthropic
    "sk_live_" + _LETTERS[:24],  # Stripe
    "rk_live_" + _LETTERS[:24],
    "xoxb-2345678901-2345678901-" + _LETTERS[:24],  # Slack
    "xapp-1-A0123456789-2345678901-" + _HEX[:32],
    "AIza" + _LETTERS + "abc",  # Google
    "ya29." + _LETTERS,
    "GOCSPX-" + _LETTERS[:28],
    "npm_" + _LETTERS + "abcd",
    "pypi-AgEIcHlwaS5vcmcC" + _LETTERS,
    "gsk_" + _LETTERS + _LETTERS[:20],  # Groq
    "nvapi-" + _LETTERS + _LETTERS,  # NVIDIA
    "r8_" + _LETTERS + "abcde",  # Replicate
    "dapi" + _HEX[:32],  # Databricks
    "SG." + _LETTERS[:22] + "." + _LETTERS + "abcdefghijk",  # SendGrid
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJzbHVybSJ9." + _LETTERS,  # JSON web token
    "ghu_" + _LETTERS + "aB3d",
    "ghr_" + _LETTERS + "aB3d",
    "glptt-" + _HEX[:40],
    "ABIA" + "QWERTYUIOPASDF12",
    "sk-svcacct-" + _LETTERS + "_" + _LETTERS,
    "sk-admin-" + _LETTERS + "_" + _LETTERS,
    "sk-ant-admin01-" + _LETTERS + "-" + _LETTERS + "AA",
    "sk-ant-oat01-" + _LETTERS + "-" + _LETTERS + "AA",
    "sk-or-v1-" + _HEX,  # OpenRouter
    "pplx-" + _LETTERS + _LETTERS[:16],  # Perplexity
    "xai-" + _LETTERS + _LETTERS + _LETTERS[:16],
    "tgp_v1_" + _LETTERS + _LETTERS[:11],  # Together
    "wandb_v1_" + _LETTERS + _LETTERS,
    "sk_test_" + _LETTERS[:24],
    "whsec_" + _LETTERS,
    "xoxp-2345678901-2345678901-2345678901-" + _HEX[:32],
    "xoxe.xoxp-1-" + _LETTERS + _LETTERS,
    "xoxd-" + _LETTERS + _LETTERS,
    "dop_v1_" + _HEX,  # DigitalOcean
    "shpat_" + _HEX[:32],  # Shopify
    "lin_api_" + _LETTERS + _LETTERS[:8],  # Linear
    "secret_" + _LETTERS + _LETTERS[:11],  # Notion
    "ntn_" + _LETTERS + _LETTERS[:14],
    "dckr_pat_" + _LETTERS[:27],  # Docker
    "hvs." + _LETTERS + _LETTERS + _LETTERS,  # Vault
    "fo1_" + _LETTERS + "abcdefghijk",  # Fly
    "PMAK-" + _HEX[:24] + "-" + _HEX[:34],  # Postman
    "dp.pt." + _LETTERS + _LETTERS[:11],  # Doppler
    "tskey-auth-" + _LETTERS[:17] + "-" + _LETTERS,  # Tailscale
    "figd_" + _LETTERS + "abcdefgh",  # Figma
    "AccountKey=" + _LETTERS + _LETTERS + _LETTERS[:22] + "==",  # Azure
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n"
    "-----END OPENSSH PRIVATE KEY-----",
    # Of a Google service account's JSON, where line ends are written out.
    "-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0BAQ\\n-----END PRIVATE KEY-----\\n",
    "AGE-SECRET-KEY-1QWERTYUIOPASDFGHJKLZXCVBNM0123456789",
)

#: Values that only a name beside them tells.
NAMED: tuple[tuple[str, str], ...] = (
    ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "zQ9vK1mN5p"),
    ("AWS_SESSION_TOKEN", "IQoJb3JpZ2luX2VjEJr//////////wEaCXVz"),
    ("WANDB_API_KEY", _HEX[:40]),
    ("HF_TOKEN", "not-of-the-usual-shape-1"),
    ("HUGGING_FACE_HUB_TOKEN", "not-of-the-usual-shape-2"),
    ("OPENAI_API_KEY", "azure-" + _HEX[:32]),
    ("ANTHROPIC_API_KEY", "proxy-" + _HEX[:32]),
    ("COMET_API_KEY", _LETTERS[:25]),
    ("NEPTUNE_API_TOKEN", "bmVwdHVuZSBpcyBibHVl" + _LETTERS),
    ("KAGGLE_KEY", _HEX[:32]),
    ("PGPASSWORD", "correct-horse-battery"),
    ("MYSQL_PWD", "staple-of-the-realm"),
    ("DB_PASS", "open-sesame-31337"),
    ("SLURM_JWT", "c2x1cm0tand0LW5vdC1hLWpzb24"),
    ("AIRFLOW__CORE__FERNET_KEY", "Zm9vYmFyYmF6cXV4cXV1eGNvcmdlZ3JhdWx0Z2FycGw="),
    ("CODEX_API_KEY", "cdx-" + _HEX[:32]),
    ("AMP_API_KEY", "amp-" + _HEX[:32]),
    ("VLLM_API_KEY", "vllm-" + _HEX[:32]),
    ("WALLET_SEED", "legal winner thank year wave sausage worth useful"),
    ("COOKIE_SECRET", "0123-crumbs-of-a-cookie"),
    ("RABBITMQ_URL", "amqp://worker:rabbit-hole-77@mq.internal:5672/"),
    ("DATABASE_URL", "postgres://ada:lovelace-1815@db.internal/x"),
    ("MONGO_URL", "mongodb+srv://ada:difference-engine-2@cluster0.internal/db"),
    ("CLICKHOUSE_PASSWORD", "babbage-was-here-1"),
)

VALUES: tuple[str, ...] = (*TOKENS, *(value for _, value in NAMED))


def leaks(text: str) -> list[str]:
    """Return the secrets of the corpus that can be found in a text."""
    inner = ("rabbit-hole-77", "lovelace-1815", "difference-engine-2")
    return [value for value in (*VALUES, *inner) if value in text]
