#!/bin/sh
# Makes weights/crack.pt from nothing, in about an hour and a half on 2 cores. SUT-Crack must lie in data/sut as a COCO export:
# data/README.md says where it comes from and how data/convert.py makes the export.
set -eu
cd "$(dirname "$0")/.."
[ -d data/drawn ] || python data/synthesize.py --photos 2000 --seed 1 --distances 0.45 2.5 --out data/drawn
[ -d runs/drawn ] || python train.py --data data/drawn --epochs 8 --versions 1 --out runs/drawn
[ -d data/drawn-400 ] || python data/synthesize.py --photos 400 --seed 1 --distances 0.45 2.5 --out data/drawn-400 # its first
[ -d data/drawn-and-sut ] || python data/merge.py data/drawn-400 data/sut --out data/drawn-and-sut
[ -d runs/weights ] ||
    python train.py --data data/drawn-and-sut --from runs/drawn --lr 0.001 --epochs 8 --versions 1 --out runs/weights
cp runs/weights/best.pt weights/crack.pt
