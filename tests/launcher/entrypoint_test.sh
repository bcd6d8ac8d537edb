#!/usr/bin/env bash
# entrypoint_test.sh ENTRYPOINT FAKESCORE: what the images' entry point becomes, without an image. The
# programs that it may become print how they were called; which subcommands there are, FAKESCORE says.
set -euo pipefail
entrypoint=$1 fakescore=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"

stub() {
  printf '#!/bin/sh\n%s\n' "$2" >"$work/bin/$1"
  chmod +x "$work/bin/$1"
}
# shellcheck disable=SC2016
for program in fakescore mpirun torchrun; do stub "$program" "printf '%s' $program; printf ' <%s>' \"\$@\""; done

run=(env -i "HOME=$work" "PATH=$work/bin:/usr/bin:/bin" sh "$entrypoint")
enter() { "${run[@]}" "$@"; }

expect() {
  local want=$1 got
  shift
  got=$(enter "$@" 2>&1) || { echo "failed: $* ends with $?: $got"; exit 1; }
  [ "$got" = "$want" ] || { echo "failed: $* gives \"$got\" and not \"$want\""; exit 1; }
}

expect 'fakescore <--help>'
expect 'fakescore <--version>' --version
expect 'fakescore <fakescore>' fakescore fakescore
expect 'mpirun <-n> <4> <fakescore> <run>' mpirun -n 4 fakescore run
expect 'torchrun <a b>' torchrun 'a b'
expect 'shell' sh -c 'echo shell'
expect 'builtin' echo builtin
expect 'mpirun <x>' "$work/bin/mpirun" x
subcommands=$("$fakescore" --help | sed -n '/^Subcommands:/,$s/^  \([a-z]\{1,\}\) .*/\1/p')
for known in run plan inspect; do
  grep -qx "$known" <<<"$subcommands" || { echo "failed: no $known in $subcommands"; exit 1; }
done
for subcommand in $subcommands; do
  expect "fakescore <$subcommand> <--teacher> <a b>" "$subcommand" --teacher 'a b'
done

if enter /nonexistent/program 2>"$work/said"; then
  echo "failed: a path that is not there is no error"
  exit 1
fi
grep -q /nonexistent/program "$work/said" || { echo "failed: the error names no path"; exit 1; }

# Signals reach what it becomes: it is the same process.
# shellcheck disable=SC2016
"${run[@]}" sh -c 'echo $$' >"$work/pid" &
wait $!
[ "$(cat "$work/pid")" = "$!" ] || { echo "failed: it runs beside what it was to become"; exit 1; }

# shellcheck disable=SC2016
stub id 'case $1 in -u) echo 0 ;; *) echo root ;; esac'
# shellcheck disable=SC2016
expect '11' sh -c 'echo "$OMPI_ALLOW_RUN_AS_ROOT$OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"'
# shellcheck disable=SC2016
stub id 'case $1 in -u) echo 4711 ;; *) exit 1 ;; esac'
# shellcheck disable=SC2016
expect 'user4711 user4711 ' sh -c 'echo "$USER $LOGNAME $OMPI_ALLOW_RUN_AS_ROOT"'
