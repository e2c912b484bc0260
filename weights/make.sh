#!/bin/sh
# Makes weights/crack.pt from nothing; stopped, it goes on. SUT-Crack must lie in data/sut as a COCO export:
# data/README.md says where it comes from and how data/convert.py makes the export.
set -eu
cd "$(dirname "$0")/.."

train() { # RUN FLAGS: begin the run, or go on where it stopped
    run=$1
    shift
    if [ -f "$run/last.pt" ]; then
        python train.py --resume "$run"
    else
        python train.py --out "$run" "$@"
    fi
}

[ -d data/drawn ] || python data/synthesize.py --photos 2000 --seed 1 --distances 0.45 2.5 --out data/drawn
train runs/drawn --data data/drawn --epochs 4 --versions 1 --seed 1
# another seed: the first stage has seen none of those that validate the second
[ -d data/drawn-400 ] || python data/synthesize.py --photos 400 --seed 2 --distances 0.45 2.5 --out data/drawn-400
[ -d data/drawn-and-sut ] || python data/merge.py data/drawn-400 data/sut --out data/drawn-and-sut
train runs/weights --data data/drawn-and-sut --from runs/drawn --epochs 8 --versions 1 --ema 0.99 --seed 1
cp runs/weights/best.pt weights/crack.pt
cp runs/weights/splits.json weights/splits.json
