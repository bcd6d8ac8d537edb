#!/usr/bin/env bash
# run.sh BUILD_DIR SOURCE_DIR VERSION: installs the build into an empty prefix, builds the consumer
# outside the tree against it, runs it, and runs the installed program; then adds the sources to a
# project as a part of it, which is configured but not built. The library's name says which
# versions are one ABI, as the package does.
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
# Who is refused by the package must not be served by the dynamic linker.
abi=${version%.*}
library=$(find "$work/prefix" -name libfakescore.so)
soname=$(LC_ALL=C readelf -d "$library" | sed -n 's/.*Library soname: \[\(.*\)\]/\1/p')
[ "$soname" = "libfakescore.so.$abi" ] || { echo "unexpected soname: $soname"; exit 1; }
readelf -d "$work/build/consumer" | grep -q "NEEDED.*\[$soname\]"
other=${abi%.*}.$((${abi#*.} + 1))
if cmake -S "$work" -B "$work/other" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" \
  -DFAKESCORE_VERSION="$other" >"$work/other.log" 2>&1; then
  echo "the package takes itself for version $other"
  exit 1
fi
grep -q "compatible with requested version \"$other\"" "$work/other.log"
printed=$("$work/prefix/bin/fakescore" --version)
[ "$printed" = "fakescore $version" ] || { echo "unexpected version: $printed"; exit 1; }

python=$(sed -n 's/^FAKESCORE_PYTHON:[A-Z]*=//p' "$build/CMakeCache.txt")
cmake -S "$source/tests/install/subproject" -B "$work/subproject" -G Ninja \
  -DFAKESCORE_SOURCE="$source" ${python:+-DFAKESCORE_PYTHON="$python"} >"$work/subproject.log" 2>&1 ||
  { cat "$work/subproject.log"; exit 1; }
# What it installs would be installed with the parent, which did not ask for it.
if grep -rl "file(INSTALL" --include=cmake_install.cmake "$work/subproject"; then
  echo "a subproject installs itself"
  exit 1
fi
