#!/bin/bash
# Checks and measures the CUDA backend on a machine with a GPU, nvcc, CMake, g++ and python3 with PyTorch. Node and the
# packages may be there, or come from bench/gpu/pack.sh.
#
#   bench/gpu/run.sh STEP [argument …]
#
#   build         the addon and its backends, with all cores
#   instructions  each instruction: GPU against plain C++, and against the emulator
#   ops           every op case on the GPU; arguments choose test files
#   conformance   the models' cases; argument: another folder of cases
#   sanitizer     compute-sanitizer over the instructions and small op families; arguments: other families
#   bench         bench/run.ts; arguments go to it
#   peers         bench/peers/run.ts beside PyTorch; arguments go to it
#   report        bench/results/cuda-DATE.json and .md from all of this
#   all           one after the other
#
# Each step stops after 9 minutes. Logs and figures are in build/gpu/results, and in $OUT where that is set.
# HUNYUAN_GPU_DEVICE=simt tries the steps on a machine without a GPU, on the emulator, with what is built there.
set -uo pipefail
cd "$(dirname "$0")/../.."
device=${HUNYUAN_GPU_DEVICE:-cuda}
work=build/gpu
results=$work/results
python=${PYTHON:-python3}
steps="build instructions ops conformance sanitizer bench peers report"
mkdir -p "$results" "$work/bin"
export PATH="$PWD/$work/bin:$PATH:/usr/local/cuda/bin"

die() {
  echo "$step: $*" >&2
  exit 1
}
need() {
  for tool in "$@"; do command -v "$tool" >/dev/null || die "$tool was not found on PATH"; done
}
need_gpu() {
  [ "$device" = cuda ] || return 0
  nvidia-smi -L 2>/dev/null | grep -q "^GPU" || die "no GPU: nvidia-smi finds none"
}
# Node and the packages from the pack, unless they are there.
need_node() {
  if ! command -v node >/dev/null; then
    local packed=($work/pack/node-*.xz)
    [ -e "${packed[0]}" ] || die "node was not found on PATH, and bench/gpu/pack.sh has left none in $work/pack"
    need xz
    xz -dc "${packed[0]}" >$work/bin/node && chmod +x $work/bin/node || die "${packed[0]} could not be unpacked"
  fi
  [ -e node_modules/tsx ] && return
  [ -e $work/pack/packages.tar.xz ] || die "node_modules is empty: npm ci, or bench/gpu/pack.sh on another machine"
  tar -xf $work/pack/packages.tar.xz || die "packages.tar.xz could not be unpacked"
}
need_backend() {
  need_node
  need_gpu
  [ -e build/Release/hunyuan_$device.so ] || die "build/Release/hunyuan_$device.so is not there: run the step build first"
}
typescript() { node --import tsx "$@"; }

step_build() {
  [ "$device" = cuda ] || { echo "build: left out on $device"; return; }
  need nvcc cmake g++
  need_node
  node scripts/build-native.mjs || return
  [ -e build/Release/hunyuan_cuda.so ] || die "the build has left no hunyuan_cuda.so"
}

step_instructions() {
  need cmake g++
  need_node
  need_gpu
  local cuda=off folder=$work/instructions
  [ "$device" = cuda ] && { need nvcc; cuda=auto; }
  cmake -S native/cuda/test -B $folder -DHUNYUAN_CUDA=$cuda >/dev/null || return
  cmake --build $folder --parallel "$(nproc)" || return
  $folder/instructions_simt $results/instructions-emulator.bin || return
  if [ "$device" = cuda ]; then
    timeout 120 $folder/instructions_cuda $results/instructions-other.bin
  else
    HUNYUAN_SIMT_SEED=7 $folder/instructions_simt $results/instructions-other.bin
  fi
  local right=$?
  [ $right = 124 ] && echo "instructions: stopped after two minutes, so a wait has no end"
  node bench/gpu/compare-instructions.mjs $results/instructions-emulator.bin $results/instructions-other.bin || return
  return $right
}

step_ops() {
  need_backend
  [ $# -gt 0 ] || set -- "test/ops-$device.test.ts" test/ops/
  HUNYUAN_TEST_DEVICES=$device node scripts/test.mjs "$@"
}

step_conformance() {
  need_backend
  local dtype failed=0
  for dtype in f32 bf16; do
    local file=$results/conformance-$dtype.jsonl
    typescript test/conformance/run.ts "${@:-test/fixtures}" --device $device --dtype $dtype >$file || failed=1
    grep -v '"pass":true}$' $file | cut -c -2000
    echo "conformance in $dtype: $(grep -c '"pass":true}$' $file) of $(wc -l <$file) cases pass"
    [ -s $file ] || failed=1
  done
  return $failed
}

step_sanitizer() {
  [ "$device" = cuda ] || { echo "sanitizer: left out on $device"; return; }
  command -v compute-sanitizer >/dev/null || { echo "sanitizer: left out, there is no compute-sanitizer"; return; }
  need_backend
  [ -e $work/instructions/instructions_cuda ] || die "run the step instructions first"
  [ $# -gt 0 ] || set -- cast norm gate-residual matmul linear attention conv3d
  local failed=0 tool family
  checked() { # NAME command …
    timeout 50 compute-sanitizer --error-exitcode 9 --target-processes all "${@:2}" >$work/sanitizer.log 2>&1
    case $? in
      0) echo "$1: clean" ;;
      124) echo "$1: not done after 50 seconds, nothing found until then" ;;
      *) failed=1; echo "$1: FAILED"; tail -40 $work/sanitizer.log ;;
    esac
  }
  for tool in memcheck racecheck synccheck; do
    checked "$tool, instructions" --tool $tool $work/instructions/instructions_cuda $work/sanitizer.bin
  done
  export HUNYUAN_TEST_DEVICES=$device HUNYUAN_CASES
  for HUNYUAN_CASES in "$@"; do
    checked "memcheck, $HUNYUAN_CASES" --tool memcheck node --import tsx test/ops-$device.test.ts
  done
  return $failed
}

step_bench() {
  need_backend
  [ $# -gt 0 ] || set -- --only limits,gpu,norm,pointwise,reduce,softmax,attention,gemm,conv3d,model
  typescript bench/run.ts --device $device --json "$@" | tee $results/bench.jsonl
}

step_peers() {
  need_backend
  "$python" -c "import torch" 2>/dev/null || die "$python has no PyTorch; PYTHON names an interpreter that has"
  [ $# -gt 0 ] || set -- --only gpu,norm,model
  typescript bench/peers/run.ts --device $device --json "$@" | tee $results/peers.jsonl
}

step_report() {
  need_node
  node bench/gpu/report.mjs $results "${@:-bench/results}" $device
}

# One step in a process of its own, so that it can be stopped; its log, its end and its time are kept.
run_step() {
  local name=$1 started=$SECONDS status
  timeout -k 10 540 bash "$0" --only "$@" 2>&1 | tee "$results/$name.log"
  status=${PIPESTATUS[0]}
  [ "$status" = 124 ] && echo "$name: stopped after 9 minutes"
  printf '%s\t%s\t%s\n' "$name" "$status" $((SECONDS - started)) >>"$results/steps.tsv"
  if [ -n "${OUT:-}" ]; then tar -czf "$OUT/gpu-results.tgz" --exclude '*.bin' "$results" bench/results; fi
  return "$status"
}

step=${1:-}
case $step in
  --only)
    step=$2
    "step_$2" "${@:3}"
    ;;
  all)
    failed=0
    for step in $steps; do
      run_step "$step" || failed=1
      # Without it nothing else can run.
      if [ "$step" = build ] && [ $failed = 1 ]; then exit 1; fi
    done
    exit $failed
    ;;
  *)
    case " $steps " in
      *" $step "*) run_step "$@" ;;
      *)
        sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "$0" >&2
        exit 2
        ;;
    esac
    ;;
esac
