"""Takes secrets out of argument vectors, environments and URLs before anything is stored or sent.

Pure text in, text out. Prefers to hide too much of a value to leaving a secret, but never hides
a flag's name, and leaves the vocabulary of language models (tokens, keys, tokenizers) alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from whenced.token_shapes import KNOWN, SUSPECTS

REDACTED: Final = "[redacted]"

_SHELL_DEPTH: Final = 3

# --- names -----------------------------------------------------------------------------------

_NOUNS: Final = frozenset(
    "password passwd passphrase passcode secret secrets token "  # noqa: SIM905 - fits a page
    "apikey authtoken accesstoken secretkey accesskey privatekey credential credentials "
    "bearer sig signature jwt mnemonic".split()
)
_NOUN_ENDINGS: Final = ("password", "passwd", "passphrase", "apikey", "secretkey", "authtoken")
#: A key is a secret only as one of these.
_KEY_KINDS: Final = frozenset(
    "api access secret private account storage shared encryption "  # noqa: SIM905 - fits a page
    "signing auth master deploy service subscription license app application consumer "
    "function kaggle wandb comet neptune openai anthropic fernet".split()
)
#: A token is a word of a text in all of these.
_WORD_TOKENS: Final = frozenset(
    "pad padding eos bos unk mask sep cls special image audio "  # noqa: SIM905 - fits a page
    "video vision start end stop begin per max min num next last first prompt trigger placeholder "
    "instance class think added extra new separator decoder encoder forced word sub "
    "observation tool boi eoi".split()
)
_NOT_SECRET_VALUES: Final = frozenset(("", "true", "false", "none", "null", "yes", "no", REDACTED))

_NAME_PARTS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def names_secret(name: str) -> bool:
    """Say whether a flag, variable or header of this name holds a secret.

    The last word decides: `--hf-token` does, `--token-limit` and `--password-file` do not.
    """
    parts = [part.lower() for part in _NAME_PARTS.findall(name[-128:])]
    if not parts:
        return False
    *before, last = parts
    previous = before[-1] if before else ""
    if last == "token":
        return previous not in _WORD_TOKENS
    if last == "key":
        return previous in _KEY_KINDS
    if last == "seed":
        return previous == "wallet"
    if last in ("pwd", "pass"):
        return bool(previous)  # PWD alone is the working directory
    return last in _NOUNS or last.endswith(_NOUN_ENDINGS)


def _hides(name: str, value: str) -> bool:
    bare = value.strip("'\"")
    if bare.lower() in _NOT_SECRET_VALUES or bare.startswith("$"):
        return False  # a shell variable is where the secret is, not what it is
    return names_secret(name) and not (_may_be_file(name) and _is_path(bare))


def _may_be_file(name: str) -> bool:
    lowered = name.lower()
    return "credential" in lowered or "private" in lowered


def _is_path(value: str) -> bool:
    return value.startswith(("/", "./", "../", "~/")) or value.endswith((".pem", ".json", ".key"))


# --- text ------------------------------------------------------------------------------------

_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?"
    r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
_AUTHORIZATION: Final = re.compile(
    r"(?i)((?:proxy-)?authorization[\"']?\s{0,8}[:=]\s{0,8}[\"']?"
    r"(?:(?:bearer|basic|token|digest|negotiate|apikey)\s{1,8})?)([^\s\"',;]+)"
)
_BEARER: Final = re.compile(r"(?i)(\bbearer\s{1,8})([A-Za-z0-9._~+/-]{16,}=*)")
_HEADER: Final = re.compile(r"(?m)^([\"']?)([A-Za-z][A-Za-z0-9-]{1,80})(:[ \t]{0,8})(\S[^\n\"']*)")
_QUOTED_PAIR: Final = re.compile(
    r"([\"'])([A-Za-z_][\w.-]{0,80})(\1\s{0,8}:\s{0,8})([\"'])((?:\\.|(?!\4)[^\\])*)"
)
_QUOTED_ASSIGNMENT: Final = re.compile(
    r"(?<![\w.-])([A-Za-z_][\w.-]{0,80})(\s{0,8}=\s{0,8})([\"'])((?:\\.|(?!\3)[^\\])*)"
)
_ASSIGNMENT: Final = re.compile(r"(?<![\w.])(-{0,2}[A-Za-z_][\w.-]{0,80})=(?!=)([^\s&;|'\"]+)")
_USER_INFO: Final = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://)([^\s/?#\"']{1,512})@")
_OPENSSL_PASS: Final = re.compile(r"^pass:.+", re.DOTALL)


def _redact_text(text: str) -> str:
    """Replace what is secret by its looks, or by the name in front of it in the same text."""
    if not _holds_any(text, SUSPECTS):
        return text
    text = _PRIVATE_KEY.sub(REDACTED, text)
    text = _OPENSSL_PASS.sub("pass:" + REDACTED, text)
    text = KNOWN.sub(REDACTED, text)
    text = _USER_INFO.sub(_without_password, text)
    text = _AUTHORIZATION.sub(_keeping_first_group, text)
    text = _BEARER.sub(_keeping_first_group, text)
    text = _QUOTED_PAIR.sub(_named(2, 5), text)
    text = _QUOTED_ASSIGNMENT.sub(_named(1, 4), text)
    text = _ASSIGNMENT.sub(_named(1, 2), text)
    return _HEADER.sub(_without_header, text)


def _holds_any(text: str, words: Iterable[str]) -> bool:
    lowered = text.lower()
    return any(word in lowered for word in words)


def _keeping_first_group(match: re.Match[str]) -> str:
    return match[1] + (match[2] if match[2].startswith("$") else REDACTED)


def _named(name_group: int, value_group: int) -> Callable[[re.Match[str]], str]:
    """Return a replacement that hides one group if another one names a secret."""

    def replace(match: re.Match[str]) -> str:
        if not _hides(match[name_group], match[value_group]):
            return match[0]
        return match[0][: match.start(value_group) - match.start()] + REDACTED

    return replace


def _without_header(match: re.Match[str]) -> str:
    name, value = match[2], match[4]
    if _hides(name, value) or name.lower() in ("cookie", "set-cookie"):
        return match[1] + name + match[3] + REDACTED
    return match[0]


def _without_password(match: re.Match[str]) -> str:
    scheme, info = match[1], match[2]
    user, colon, password = info.partition(":")
    if colon and not password.startswith("$"):
        # "token:@" and "token:x-oauth-basic@": the secret is the user name.
        hidden_user = REDACTED if password in ("", "x-oauth-basic") else user
        return f"{scheme}{hidden_user}:{REDACTED}@"
    if not colon and len(user) >= 20 and scheme.lower().startswith("http"):
        return f"{scheme}{REDACTED}@"
    return match[0]


# --- argument vectors ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _ShortFlags:
    """Flags of one program whose value is a secret without saying so."""

    separate: frozenset[str] = frozenset()
    attached: frozenset[str] = frozenset()
    login: frozenset[str] = frozenset()
    """Flags whose value is user:password."""


_MYSQL: Final = _ShortFlags(attached=frozenset(("-p",)))
_CURL: Final = _ShortFlags(login=frozenset(("-u", "--user", "-U", "--proxy-user")))
_PROGRAMS: Final = {
    **dict.fromkeys(("mysql", "mysqldump", "mysqladmin", "mysqlimport", "mariadb"), _MYSQL),
    **dict.fromkeys(("mariadb-dump", "mysqlsh", "mycli"), _MYSQL),
    "curl": _CURL,
    "sshpass": _ShortFlags(frozenset(("-p",)), frozenset(("-p",))),
    "redis-cli": _ShortFlags(frozenset(("-a",))),
    "login": _ShortFlags(frozenset(("-p",))),  # docker login, az login, helm registry login
    "mongo": _ShortFlags(frozenset(("-p",))),
    "mongosh": _ShortFlags(frozenset(("-p",))),
    "mongodump": _ShortFlags(frozenset(("-p",))),
    "ldapsearch": _ShortFlags(frozenset(("-w",))),
    "zip": _ShortFlags(frozenset(("-P",))),
    "unzip": _ShortFlags(frozenset(("-P",))),
    "7z": _ShortFlags(attached=frozenset(("-p",))),
}
_NO_FLAGS: Final = _ShortFlags()
#: `aws configure set aws_secret_access_key X`, `git config http.token X`.
_SETTERS: Final = frozenset(("set", "config", "setenv"))
_FLAG: Final = re.compile(r"--?[A-Za-z][\w.-]*\Z")

#: One word of a shell command line, quotes included, or what stands between two of them.
_SHELL_WORD: Final = re.compile(r"(?:'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.|[^\s;|&'\"\\])+|.", re.DOTALL)
_SHELL_END: Final = frozenset(";|&\n")
_QUOTED: Final = re.compile(r"(['\"])(.*)\1\Z", re.DOTALL)


def redact_arguments(argv: Sequence[str]) -> tuple[str, ...]:
    """Return `argv` with each secret value replaced by REDACTED; flag names stay.

    Looks into shell command lines (`sh -c "…"`) too.
    """
    if not _holds_any("\n".join(argv), (*SUSPECTS, *_PROGRAMS)):
        return tuple(argv)
    return tuple(_redact_words(argv, _SHELL_DEPTH))


#: `password: hunter2`, `api_key = x` of settings, which need no quotes.
_SETTING: Final = re.compile(
    r"(?m)^([ \t]*(?:- |export )?)([A-Za-z_][\w.-]{0,80})([ \t]*[:=][ \t]*)([^\s\"'][^\n]*)"
)


def redact_file(text: str, *, settings: bool) -> str:
    """Return the text of a file with each secret value replaced by REDACTED.

    Where it is no file of `settings` but of a program, a value needs quotes: ``token = next(x)``
    is none.
    """
    if not _holds_any(text, SUSPECTS):
        return text
    text = _PRIVATE_KEY.sub(REDACTED, text)
    text = KNOWN.sub(REDACTED, text)
    text = _USER_INFO.sub(_without_password, text)
    text = _BEARER.sub(_keeping_first_group, text)
    text = _QUOTED_PAIR.sub(_named(2, 5), text)
    text = _QUOTED_ASSIGNMENT.sub(_named(1, 4), text)
    if settings:
        text = _AUTHORIZATION.sub(_keeping_first_group, text)
        text = _ASSIGNMENT.sub(_named(1, 2), text)
        text = _SETTING.sub(_named(2, 4), text)
    return text


def redact_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of `environment` with each secret value replaced by REDACTED."""
    return {
        name: REDACTED if _hides(name, value) else _redact_text(value)
        for name, value in environment.items()
    }


def redact_url(url: str) -> str:
    """Return `url` with password, token and secret query parameters replaced by REDACTED."""
    return _redact_text(url)


def strip_credentials(url: str) -> str:
    """Return `url` without user name and password; the plain user of ssh (git@) stays."""

    def strip(match: re.Match[str]) -> str:
        secret = ":" in match[2] or match[1].lower().startswith("http")
        return match[1] if secret else match[0]

    return redact_url(_USER_INFO.sub(strip, url))


def _redact_words(words: Sequence[str], depth: int) -> list[str]:
    result: list[str] = []
    program = _NO_FLAGS
    previous = before = ""
    for word in words:
        result.append(_redact_word(word, previous, before, program, depth))
        if not word.startswith("-"):
            program = _PROGRAMS.get(word.rpartition("/")[2], program)
        before, previous = previous, word
    return result


def _redact_word(word: str, previous: str, before: str, program: _ShortFlags, depth: int) -> str:
    if previous in program.login:
        return _redact_login(word)
    if previous in program.separate and not word.startswith(("-", "$")):
        return REDACTED
    if _is_value_of(word, previous, before) and _hides(previous, word):
        return REDACTED
    flag, value = word[:2], word[2:]
    if flag in program.attached and value:
        return word if value.startswith("$") else flag + REDACTED
    if flag in program.login and value:
        return flag + _redact_login(value)
    return _redact_phrase(word, depth)


def _redact_phrase(word: str, depth: int) -> str:
    """Redact one argument by itself; one with spaces in it may be a command line."""
    if depth and any(space in word for space in " \t\n"):
        return _redact_shell(_redact_text(word), depth - 1)
    return _redact_text(word)


def _is_value_of(word: str, previous: str, before: str) -> bool:
    """Say whether `previous` is a name that takes `word` as its value."""
    if word.startswith("--") or (word.startswith("-") and len(word) <= 2):
        return False
    return bool(_FLAG.match(previous)) or (before in _SETTERS and not previous.startswith("-"))


def _redact_login(value: str) -> str:
    user, colon, password = value.strip("'\"").partition(":")
    if not colon or password.startswith("$"):
        return _redact_text(value)
    return f"{user}:{REDACTED}" if password else f"{REDACTED}:"


def _redact_shell(line: str, depth: int) -> str:
    """Redact a command line word by word, keeping everything between the words."""
    pieces: list[str] = _SHELL_WORD.findall(line)
    result: list[str] = []
    command: list[int] = []
    for piece in [*pieces, "\n"]:
        if not piece.isspace() and piece not in _SHELL_END:
            command.append(len(result))
        elif piece in _SHELL_END:
            redacted = _redact_words([_unquoted(result[place]) for place in command], depth)
            for place, word in zip(command, redacted, strict=True):
                if word != _unquoted(result[place]):
                    result[place] = _quoted_like(result[place], word)
            command.clear()
        result.append(piece)
    return "".join(result[:-1])


def _unquoted(word: str) -> str:
    match = _QUOTED.match(word)
    return match[2] if match else word


def _quoted_like(original: str, word: str) -> str:
    match = _QUOTED.match(original)
    return f"{match[1]}{word}{match[1]}" if match else word
