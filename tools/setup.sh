#!/usr/bin/env bash
# Brings this machine to where whence can be built, run and tested: Debian
# packages, kernel file systems, the virtual environment, the BPF object. Does
# only what is missing, so that a second call is quick; a lock makes calls that
# overlap wait for each other. Starts nothing.
#
#   tools/setup.sh          what `make up` needs
#   tools/setup.sh tests    the same, and what `make test` needs
#   tools/setup.sh bench    the same, and what `make bench` measures beside whence
set -euo pipefail

cd "$(dirname "$0")/.."
readonly run_packages=(clang llvm libbpf-dev libbpf1 make ca-certificates python3 python3-venv)
readonly test_packages=(bpftool btrfs-progs dbus gcc git iproute2 libc6-dev openssh-client
	openssh-server prometheus rsync strace systemd systemd-container util-linux xfsprogs)
readonly bench_packages=(b3sum bpftool gcc libc6-dev xz-utils) # what is measured, and with what
readonly extras="daemon,collector,dev,demo,mcp"

say() { printf '  %-9s %s\n' "$1" "$2" >&2; }

fail() {
	printf 'whence: %s\n' "$1" >&2
	exit 2
}

need_root() {
	[ "$(id -u)" -eq 0 ] || fail "$1 takes root: run it again with sudo."
}

missing_packages() {
	local package
	for package in "$@"; do
		dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
			printf '%s\n' "$package"
	done
}

# apt_get WORDS...: quiet, never asks, waits for another apt to finish.
apt_get() {
	DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" >&2
}

install_packages() {
	local missing
	mapfile -t missing < <(missing_packages "$@")
	[ "${#missing[@]}" -gt 0 ] || return 0
	need_root "installing ${missing[*]}"
	say packages "${missing[*]}"
	# The lists of a bare image are empty or stale: refresh them first.
	apt_get update || fail "apt-get update failed: check the network and /etc/apt/sources.list."
	apt_get install -y --no-install-recommends "${missing[@]}" ||
		fail "apt-get could not install ${missing[*]}: see its message above."
}

mounted() { grep -qE "^[^ ]+ [^ ]+ $1 " /proc/self/mounts; }

# mount_missing TYPE DIRECTORY: mounts a kernel file system that is nowhere yet.
mount_missing() {
	if mounted "$1"; then return 0; fi
	need_root "mounting $1 on $2"
	say mount "$1 on $2"
	mkdir -p "$2" 2>/dev/null || true
	mount -t "$1" "$1" "$2" || fail "mounting $1 on $2 failed: whence needs a host that allows it."
}

mount_file_systems() {
	mount_missing bpf /sys/fs/bpf
	mount_missing tracefs /sys/kernel/tracing
	if mounted cgroup; then
		mount_missing cgroup2 /sys/fs/cgroup/unified
	else
		mount_missing cgroup2 /sys/fs/cgroup
	fi
}

# The first interpreter that is new enough and can make environments.
find_python() {
	local candidate
	for candidate in ${PYTHON:-} python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
		if "$candidate" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
			printf '%s\n' "$candidate"
			return 0
		fi
	done
	fail "no Python 3.11 or newer with venv was found: name one, as in \`make up PYTHON=/path/to/python3.12\`."
}

# What the environment was made from; differs when it has to be made again.
fingerprint() {
	printf '%s %s\n' "$extras" "$PWD"
	sha256sum pyproject.toml hatch_build.py
	.venv/bin/python -V 2>&1
}

install_environment() {
	[ -x .venv/bin/python ] || "$(find_python)" -m venv .venv
	[ "$(fingerprint)" != "$(cat .build/environment 2>/dev/null)" ] || return 0
	say python "installing whence[$extras] into .venv"
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extras]" ||
		fail "pip could not install the project: see its message above."
	fingerprint >.build/environment
}

main() {
	mkdir -p .build
	exec 9>.build/lock
	flock 9
	install_packages "${run_packages[@]}"
	if [ "${1:-}" = tests ]; then install_packages "${test_packages[@]}"; fi
	if [ "${1:-}" = bench ]; then install_packages "${bench_packages[@]}"; fi
	mount_file_systems
	install_environment 9>&-
	make --silent --no-print-directory -C bpf 9>&-
	make --silent --no-print-directory -C collector/native 9>&-
}

main "$@"
