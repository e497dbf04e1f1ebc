"""Trains the small model of `../shared/bench/peer_nuclei.py` on real microscopy, as it does.

    python benchmarks/nuclei.py --seeds 0 1                                    # ours alone
    python benchmarks/nuclei.py --seeds 0 1 --peer ../peer/bin/python          # and the peer

The pictures are of two kinds: grey ones of 256x256 and stained ones of 256x320. Model, data and
schedule are those that the peer's docstring describes; the rest is as in `learning.py`. AP counts
up to 200 detections of an image, since one holds up to 112 nuclei. Both clocks count the training
steps alone.
"""

from learning import CONFIG, SHARED, Task, main

DATA = SHARED / "data/nuclei"

NUCLEI = Task(
    peer_script="peer_nuclei",
    config=CONFIG.replace(
        num_classes=1,
        image_min_size=256,
        image_max_size=320,
        anchor_sizes=((8,), (16,), (32,), (64,), (128,)),
        rpn_pre_nms_top_n_train=1000,
        rpn_pre_nms_top_n_test=1000,
        rpn_post_nms_top_n_train=1000,
        rpn_post_nms_top_n_test=1000,
        box_batch_size_per_image=128,
        box_detections_per_image=200,
        max_gt_boxes=160,  # up to 151 in a picture
    ),
    train_data=(DATA / "train.json", DATA / "train"),
    val_data=(DATA / "val.json", DATA / "val"),
    batch_size=4,
)

if __name__ == "__main__":
    main(NUCLEI, __doc__)
