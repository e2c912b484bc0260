#!/bin/sh
# Makes weights/crack.pt from nothing: about four hours on two free cores. Stopped and started again, it continues.
#
# Four COCO exports must lie in data/ (weights/README.md says what they are and where they come from):
# data/sut, data/sut_undamaged, data/cpri_undamaged and data/paveseg.
set -eu
cd "$(dirname "$0")/.."

course() { # RUN FLAGS: the course's training; begins the run, or continues it
    run=$1
    shift
    if [ -f "$run/last.pt" ]; then
        python train.py --resume "$run"
    else
        python train.py --out "$run" "$@"
    fi
}

stage() { # RUN FLAGS: training on crops with strong changes; continues by itself
    run=$1
    shift
    [ -f "$run/best.pt" ] || python weights/train_weights.py --out "$run" "$@"
}

# 1: drawn photos, then drawn photos and SUT-Crack, with the course's augmentation (until 2026-11-28 these shipped)
[ -d data/drawn ] || python data/synthesize.py --photos 2000 --seed 1 --distances 0.45 2.5 --out data/drawn
course runs/drawn --data data/drawn --epochs 4 --versions 1 --seed 1
[ -d data/drawn-400 ] || python data/synthesize.py --photos 400 --seed 2 --distances 0.45 2.5 --out data/drawn-400
[ -d data/drawn-and-sut ] || python data/merge.py data/drawn-400 data/sut --out data/drawn-and-sut
course runs/course --data data/drawn-and-sut --from runs/drawn --epochs 8 --versions 1 --ema 0.99 --seed 1

# 2: closer and farther drawn photos, labels of SUT-Crack moved to where its cracks are, undamaged real roads
[ -d data/drawn-1200 ] || python data/synthesize.py --photos 1200 --seed 11 --distances 0.35 2.8 --out data/drawn-1200
[ -d data/sut-aligned ] || python data/align.py data/sut --out data/sut-aligned --table data/sut-shifts.csv
stage runs/stage2 --from runs/course/best.pt --steps 1500 --seed 1 \
    --data data/drawn-1200=6 data/sut-aligned=3 data/sut_undamaged=0.6 data/cpri_undamaged=0.8 \
    --undamaged data/paveseg=0.4

# 3: varied drawn photos; others of them choose the threshold
[ -d data/drawn-varied ] || python data/synthesize.py --varied --photos 1500 --seed 21 --out data/drawn-varied
[ -d data/drawn-valid ] || python data/synthesize.py --varied --photos 100 --seed 23 --out data/drawn-valid
stage runs/stage3 --from runs/stage2/best.pt --steps 2500 --seed 2 \
    --data data/drawn-varied=6 data/drawn-1200=1 data/sut-aligned=2.5 data/sut_undamaged=0.7 data/cpri_undamaged=1.3 \
    --undamaged data/paveseg=0.7 --valid data/drawn-valid

# halfway between the first and the third stage: these weights shipped until 2026-11-29
[ -f runs/average/best.pt ] || python weights/average.py runs/course/best.pt runs/stage3/best.pt --out runs/average

# 4: more of them, with blurred wide cracks, warm roads and fewer thin shadows; a third of the weights from before
[ -d data/drawn-varied-2 ] || python data/synthesize.py --varied --photos 3900 --seed 31 --out data/drawn-varied-2
stage runs/stage4 --from runs/average/best.pt --steps 9000 --seed 5 \
    --data data/drawn-varied-2=5 data/drawn-1200=1.5 data/sut-aligned=3 data/sut_undamaged=0.5 \
    data/cpri_undamaged=1.2 --undamaged data/paveseg=0.6 --valid data/drawn-valid
four=runs/stage4/best.pt
[ -f runs/average4/best.pt ] || python weights/average.py runs/average/best.pt $four $four --out runs/average4

# 5: hard negatives: drawn undamaged photos in which those weights find a crack
[ -d data/undamaged ] || python data/synthesize.py --varied --undamaged-only --photos 1500 --seed 41 --out data/undamaged
[ -d data/hard ] || python weights/mine.py data/undamaged --checkpoint runs/average4 --out data/hard
stage runs/stage5 --from runs/average4/best.pt --steps 2800 --lr 0.0006 --seed 6 \
    --data data/drawn-varied-2=4 data/drawn-1200=1.5 data/sut-aligned=4 data/hard=1.5 data/sut_undamaged=0.8 \
    data/cpri_undamaged=1.5 --undamaged data/paveseg=0.6 --valid data/drawn-valid

# halfway between
[ -f runs/average5/best.pt ] || python weights/average.py runs/average4/best.pt runs/stage5/best.pt --out runs/average5

# 6: the same twice, with more of SUT-Crack and other random numbers; then the mean of all three
for seed in 7 9; do
    stage runs/stage6-$seed --from runs/average5/best.pt --steps 3000 --lr 0.0006 --seed $seed \
        --data data/drawn-varied-2=4 data/drawn-1200=1.5 data/sut-aligned=4.5 data/hard=1.5 data/sut_undamaged=0.8 \
        data/cpri_undamaged=1.5 --undamaged data/paveseg=0.6 --valid data/drawn-valid
done
python weights/average.py runs/stage6-7/best.pt runs/stage6-9/best.pt runs/average5/best.pt --out runs/average6
cp runs/average6/best.pt weights/crack.pt
cp runs/average6/splits.json weights/splits.json
