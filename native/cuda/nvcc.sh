#!/bin/sh
# CMake starts nvcc through this (CUDA_COMPILER_LAUNCHER):  nvcc.sh NVCC ARGUMENTS -o OBJECT ...
#
# What ptxas says of each kernel (-Xptxas=-v: registers, shared memory, stack, spills) is kept beside the object in
# OBJECT.ptxas, where `npm run ptxas` finds it without compiling again; warnings and errors are shown as always.
# The remarks C7510 to C7519 (wgmma serialised, setmaxnreg ignored) are errors: the kernel would run, far too slowly.
object=""
previous=""
for argument; do
  if [ "$previous" = "-o" ]; then object="$argument"; fi
  previous="$argument"
done
if [ -z "$object" ]; then exec "$@"; fi

log="$object.ptxas"
"$@" >"$log" 2>&1
status=$?
if grep '(C751[0-9])' "$log" >&2; then
  echo "$object: the remarks above are errors in this project (native/cuda/nvcc.sh)" >&2
  if [ "$status" -eq 0 ]; then status=1; fi
fi
grep -v -e '^ptxas info ' -e '^  *[0-9]* bytes stack frame' "$log" >&2
if [ "$status" -ne 0 ]; then rm -f "$object" "$log"; fi
exit "$status"
