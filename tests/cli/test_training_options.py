"""What a training run may be told."""

import pytest

from keras_maskrcnn.cli.training_options import TrainingOptions


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be above 0, got 0"),
        ({"batch_size": 0}, "batch_size must be above 0"),
        ({"crop_size": 0}, "crop_size must be above 0"),
        ({"ema": -0.5}, "ema must be above 0"),
        ({"schedule": "linear"}, "schedule must be of cosine, multistep, 1x, 2x, 3x"),
        ({"mixed_precision": "float64"}, "mixed_precision must be of bfloat16, float16"),
        ({"schedule": "2x", "epochs": 3}, "--schedule 2x sets the epochs"),
        ({"val_images": "photos"}, "--val-images is the folder of the pictures of --val-data"),
        ({"patience": 3}, "--patience needs --val-annotations"),
    ],
)
def test_contradictions_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TrainingOptions(train_data="train.json", **options)
