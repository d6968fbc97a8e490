#!/usr/bin/env bash
# Runs the pipeline beside this file in a folder outside the repository, as
# anybody would, then asks whence about the model. WHENCE_ADDRESS says whom to
# ask; DEMO_DIR, where given, is used instead of a new temporary folder.
set -euo pipefail

here="$(cd "$(dirname "$0")" && pwd)"
readonly here
# The interpreter that has scikit-learn, under the name that the script calls.
export PATH="$here/../.venv/bin:$PATH"

say() { printf '\n$ %s\n' "$*"; }

# ask ARGUMENTS...: shows the question and the answer. The last step's files
# may still be on their way, so an answer that is not there yet is asked again.
ask() {
	local attempt answer
	for attempt in 1 2 3 4 5 6 7 8 9 10; do
		if answer="$(whence "$@" 2>&1)"; then break; fi
		[ "$attempt" -lt 10 ] || { printf '%s\n' "$answer" >&2; return 1; }
		sleep 1
	done
	say "whence $*"
	printf '%s\n' "$answer"
}

# A project has a repository: with one, the answer names the commit.
make_repository() {
	command -v git >/dev/null || return 0
	git init --quiet --initial-branch main
	git add .
	git -c user.name=demo -c user.email=demo@example.org commit --quiet --message "digits: a small model"
}

folder="${DEMO_DIR:-$(mktemp -d /tmp/whence-demo.XXXXXX)}"
mkdir -p "$folder"
cd "$folder"
for file in "$here"/pipeline/*; do cp "$file" .; done
make_repository

say "cd $folder && sh pipeline.sh"
sh pipeline.sh
printf 'accuracy on unseen digits: %s\n' "$(cat metrics.json)"

ask model.joblib
ask lineage model.joblib
printf '\nThe folder is %s: copy, move or rename the model and ask again.\n' "$folder"
