"""How the tokens of known issuers look. Data; what is done with them stands in redact.py."""

from __future__ import annotations

import re
from typing import Final

#: Tokens that are known by their looks, each with the boundary before it that tells "sk-" from
#: "task-".
KNOWN: Final = re.compile(
    r"(?<![A-Za-z0-9_-])(?:"
    r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}(?![0-9A-Za-z])"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}"
    r"|gl(?:pat|ptt|dt|rt|cbt|soat|ft|imt|agent)-[A-Za-z0-9_.-]{16,}"  # GitLab
    r"|hf_[A-Za-z0-9]{30,}(?![A-Za-z0-9_])|api_org_[A-Za-z0-9]{30,}"  # Hugging Face
    r"|sk-(?:proj|ant|svcacct|admin|or|lf)-[A-Za-z0-9_-]{16,}|sk-[A-Za-z0-9]{20,}(?![A-Za-z0-9_-])"
    r"|[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"  # Stripe
    r"|xox[abcdeoprs](?:\.xox[bp])?-[A-Za-z0-9%-]{10,}|xapp-[A-Za-z0-9-]{10,}"  # Slack
    r"|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}"  # Google
    r"|npm_[A-Za-z0-9]{30,}|pypi-AgE[A-Za-z0-9_-]{20,}"
    r"|gsk_[A-Za-z0-9]{40,}|nvapi-[A-Za-z0-9_-]{40,}|r8_[A-Za-z0-9]{30,}|dapi[0-9a-f]{32}"
    r"|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"  # SendGrid
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"  # JSON web token
    r"|AGE-SECRET-KEY-1[0-9A-Z]{20,}"
    r"|whsec_[A-Za-z0-9+/]{20,}"  # Stripe's hooks
    r"|pplx-[A-Za-z0-9]{32,}|xai-[A-Za-z0-9]{40,}|tgp_v1_[A-Za-z0-9_-]{30,}"  # hosted models
    r"|wandb_v1_[A-Za-z0-9_-]{30,}|fo1_[A-Za-z0-9_-]{30,}"
    r"|do[opr]_v1_[0-9a-f]{64}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}"  # DigitalOcean, Shopify
    r"|lin_api_[A-Za-z0-9]{32,}|(?:secret|ntn)_[A-Za-z0-9]{40,}"  # Linear, Notion
    r"|dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}|hv[sbr]\.[A-Za-z0-9_-]{24,}|atlasv1\.[A-Za-z0-9_-]{20,}"
    r"|PMAK-[0-9a-f]{24}-[0-9a-f]{34}|dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9_.-]{30,}"
    r"|tskey-[a-z]+-[A-Za-z0-9]{8,}-[A-Za-z0-9]{16,}|figd_[A-Za-z0-9_-]{30,}"
    r"|(?:AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{40,}={0,2}"  # Azure
    r")"
)
#: Something of this is in every text that holds a secret (lower case); most have none of it.
SUSPECTS: Final = (
    "pass",
    "pwd",
    "secret",
    "token",
    "key",
    "auth",
    "bearer",
    "cred",
    "cookie",
    "sig",
    "://",
    "akia",
    "abia",
    "acca",
    "gl",
    "whsec",
    "pplx-",
    "xai-",
    "tgp_",
    "wandb",
    "fo1_",
    "_v1_",
    "shp",
    "ntn_",
    "dckr_",
    "hvs.",
    "hvb.",
    "hvr.",
    "atlasv1",
    "pmak-",
    "dp.",
    "figd_",
    "asia",
    "gh",
    "github",
    "hf_",
    "api_",
    "sk-",
    "k_live",
    "k_test",
    "xox",
    "xapp",
    "aiza",
    "ya29",
    "gocspx",
    "npm_",
    "pypi-",
    "gsk_",
    "nvapi",
    "r8_",
    "dapi",
    "sg.",
    "eyj",
    "age-",
    "jwt",
    "mnemonic",
    "wallet",
)
