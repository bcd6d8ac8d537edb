#!/usr/bin/env bash
# setup_test.sh SOURCE_DIR: the scripts' setup and options, in a copy of the checkout where the
# programs that install things are replaced by ones that write down how they were called.
set -euo pipefail
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root="$work/a checkout"
calls=$work/calls
mkdir -p "$root/tests" "$work/bin"
cp -r "$source/launcher" "$source/scripts" "$root"
cp "$source/tests/run" "$root/tests"
export PATH=$work/bin:$PATH
unset FAKESCORE_TORCH_VERSION

replace() {
  printf '#!/bin/sh\necho "%s $*" >>"%s"\n%s\n' "$1" "$calls" "$2" >"$work/bin/$1"
  chmod +x "$work/bin/$1"
}
# shellcheck disable=SC2016
replace python3 '[ "$2" = venv ] && mkdir -p "$3/bin" && cp "$(dirname "$0")/pip" "$3/bin/pip"'
for program in dpkg-query apt-get cmake ctest mpirun; do replace "$program" 'exit 1'; done

check() {
  local what=$1
  shift
  "$@" || { echo "failed: $what"; exit 1; }
}
install_torch() (source "$root/scripts/setup.sh" && fakescore_use_torch "$1" && fakescore_torch)
venv_of() (source "$root/scripts/setup.sh" && fakescore_use_torch "$1" && printf '%s' "$venv")
folder_of() (
  source "$root/scripts/setup.sh" && fakescore_use_torch "$1" && fakescore_build_folder release
)
pin=$(source "$root/scripts/setup.sh" && printf '%s' "$torch_version")
pip_calls() { grep -c '^pip ' "$calls" || true; }

replace pip 'exit 1'
if install_torch "$pin" 2>/dev/null; then check "a failing pip is an error" false; fi
touch "$root/.venv/half-written"
replace pip 'exit 0'
install_torch "$pin" 2>/dev/null
check "an interrupted installation is made again" [ "$(pip_calls)" = 2 ]
check "from nothing" [ ! -e "$root/.venv/half-written" ]
install_torch "$pin"
check "a finished one is left alone" [ "$(pip_calls)" = 2 ]

check "the pin's environment" [ "$(venv_of "$pin")" = "$root/.venv" ]
check "the pin's build" [ "$(folder_of "$pin")" = "$root/build/release" ]
check "another's environment" [ "$(venv_of 9.8.7)" = "$root/.venv-9.8.7" ]
check "another's build" [ "$(folder_of 9.8.7)" = "$root/build/release-torch-9.8.7" ]
install_torch 9.8.7 2>/dev/null
install_torch "$pin"
check "two versions live side by side" [ "$(pip_calls)" = 3 ]

progress_of() (source "$root/scripts/setup.sh" && fakescore_progress "$work/build.log" 2>&1)
told=$(printf '%s\n' 'configuring' '[1/20] a' '[2/20] b' '[3/20] c' 'warning' '[20/20] d' | progress_of)
check "progress is told by tenths" [ "$told" = "== built 2 of 20 files
== built 20 of 20 files" ]
check "the log has every line" [ "$(wc -l <"$work/build.log")" = 6 ]

expect_usage() {
  local code=$1 output status=0
  shift
  output=$("$@" 2>&1) || status=$?
  check "$* is exit code $code, not $status" [ "$status" = "$code" ]
  check "$* says how to use it" grep -q '^usage: ' <<<"$output"
}
rm "$calls"
expect_usage 2 "$root/tests/run" --preset bogus
expect_usage 2 "$root/tests/run" --torch
expect_usage 2 "$root/tests/run" --torch latest
expect_usage 0 "$root/tests/run" --help
expect_usage 0 "$root/launcher/demo" --help
expect_usage 2 "$root/launcher/demo" many
check "bad options install nothing" [ ! -e "$calls" ]
