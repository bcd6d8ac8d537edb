#!/usr/bin/env bash
# run.sh BUILD_DIR SOURCE_DIR VERSION: installs the build into an empty prefix, builds the consumer
# outside the tree against it, runs it, and runs the installed program.
set -euo pipefail
build=$1 source=$2 version=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/prefix" >"$work/install.log"
cp "$source/tests/install/CMakeLists.txt" "$source/tests/install/consumer.cpp" "$work"
cmake -S "$work" -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" \
  -DFAKESCORE_VERSION="$version" \
  -DCMAKE_CXX_COMPILER_LAUNCHER="$(command -v ccache || true)" >"$work/configure.log"
cmake --build "$work/build"
"$work/build/consumer" | tee "$work/output"
grep -q 'weights equal: true' "$work/output"
grep -q 'caught: teacher error: /nonexistent' "$work/output"
printed=$("$work/prefix/bin/fakescore" --version)
[ "$printed" = "fakescore $version" ] || { echo "unexpected version: $printed"; exit 1; }
