#!/usr/bin/env bash
# A short run on a GPU: does training work there, how fast, how much memory. Prints what belongs into docs/gpu.md.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v nvidia-smi >/dev/null; then
    echo "no NVIDIA GPU here: nvidia-smi is missing" >&2
    exit 1
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
tool=${TOOL:-.venv/bin/tool}
date -u +%Y-%m-%d
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
for precision in no bf16; do
    "$tool" train vqa --model tiny --data sample --epochs 2 --mixed-precision "$precision" --output-dir "$out/$precision" --json >"$out/$precision.json"
    echo "vqa tiny, $precision:"
    cat "$out/$precision.json"
    cat "$out/$precision"/*/status.json
done
"$tool" train glue --model tiny --data sample --epochs 2 --output-dir "$out/glue" --json >"$out/glue.json"
for approach in bnb-int8 bnb-nf4; do
    "$tool" quantize --model "$(echo "$out"/glue/*)" --approach "$approach" --max-drop 100 --json >"$out/$approach.json"
    echo "glue tiny, $approach:"
    cat "$out/$approach.json"
done
for precision in no bf16; do
    "$tool" train controlnet --model tiny --data sample --mixed-precision "$precision" --output-dir "$out/controlnet-$precision" --json >"$out/controlnet-$precision.json"
    echo "controlnet tiny, $precision:"
    cat "$out/controlnet-$precision.json"
    cat "$out/controlnet-$precision"/*/status.json
done
"$(dirname "$tool")/python" scripts/bench.py controlnet --only full
