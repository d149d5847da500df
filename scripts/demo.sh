#!/usr/bin/env bash
# An animated asset in, a moving point cloud and a report out, on a plain CPU machine:
#     scripts/demo.sh [ASSET] [--out DIR]
# ASSET is a .glb, .gltf, .fbx, .obj or .blend file; without one, a character built by the project.
# A second start continues where the first one stopped and does not set up again.
set -euo pipefail

usage() { sed -n '2,5s/^# \{0,1\}//p' "$0"; }
fail() { echo "demo: error: $*" >&2; exit 2; }
say() { echo "demo: [$((SECONDS / 60)) min $((SECONDS % 60)) s] $*" >&2; }

asset=builtin:demo out=""
while (($#)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --out) (($# > 1)) || fail "--out needs a folder"; out=$2; shift ;;
        -*) usage >&2; fail "unknown option $1" ;;
        *) [[ $asset == builtin:demo ]] || fail "one asset at a time"; asset=$1 ;;
    esac
    shift
done
# Paths are the caller's; the rest happens in the project's folder.
if [[ $asset != builtin:* ]]; then
    [[ -f $asset ]] || fail "$asset: no such file"
    asset=$(realpath "$asset")
fi
[[ -z $out ]] || out=$(realpath -m "$out")
cd "$(dirname "$0")/.."
name=$(basename "${asset#builtin:}")
name=${name%.*}
out=${out:-$PWD/runs/demo_$name}
run=$out/runs/animate_papr/$name

say "setting up (about two minutes the first time)"
bash scripts/setup_env.sh .venv render
python=.venv/bin/python
# Steps are small: one thread is steady, while two wait for each other as soon as a core is busy
# (measured beside one other process: 5 steps a second instead of 21). Blender uses all cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

say "1/4 rendering $asset from 40 sides at six moments"
$python -m blender_render.render --config configs/blender_render/demo.yaml \
    "assets=[\"$asset\"]" "output=\"$out/data\""
say "2/4 training: the first frame from nothing, each later one from the one before"
$python -m animate_papr.train --config configs/animate_papr/demo.yaml \
    "data.path=\"$out/data/$name\"" "output_root=\"$out/runs\"" "name=\"$name\""
say "3/4 videos and point clouds"
# Each on one thread, so two at a time. What runs in the background does not hear Ctrl-C.
$python -m animate_papr.render "run=\"$run\"" path.kind=turntable path.views=48 &
turntable=$!
trap 'kill "$turntable" 2>/dev/null || true' EXIT
$python -m animate_papr.render "run=\"$run\"" path.kind=orbit path.views=48 between=3
$python -m animate_papr.export "run=\"$run\""
wait "$turntable"
trap - EXIT
say "4/4 the report"
$python -m animate_papr.report "run=\"$run\""
say "done. Open $run/report.html"
