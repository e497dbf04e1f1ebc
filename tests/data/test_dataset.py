"""What a dataset refuses to be used for."""

import pytest

import keras_maskrcnn as km


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Three pictures, as a COCO file and as TFRecords; six classes."""
    listed = km.data.shapes.generate(tmp_path_factory.mktemp("shapes"), 3, size=64)
    return [listed, km.data.write_tfrecords(listed, tmp_path_factory.mktemp("records"))]


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("training", [False, True])
def test_ids_that_would_mean_other_classes_are_refused(shapes, kind, training):
    dataset = shapes[kind]
    names = dataset.class_names
    for others in (names[::-1], ("cat", *names[1:]), names[1:]):
        config = km.MaskRCNNConfig(num_classes=len(others), class_names=others)
        message = rf"has the classes {', '.join(names)}, the model \(num_classes={len(others)}\) "
        message += rf"{', '.join(others)}: ids would mean other classes. Open it with class_names="
        with pytest.raises(ValueError, match=message):
            dataset.batches(config, training=training)
    with pytest.raises(ValueError, match=r"\(num_classes=5\) no names: ids would mean other"):
        dataset.batches(km.MaskRCNNConfig(num_classes=5), training=training)


@pytest.mark.parametrize("kind", [0, 1])
def test_a_model_may_have_no_names_or_further_classes(shapes, kind):
    dataset = shapes[kind]
    for fields in (
        {"num_classes": 6},
        {"num_classes": 7},
        {"num_classes": 6, "class_names": dataset.class_names},
        {"num_classes": 7, "class_names": (*dataset.class_names, "cat")},
    ):
        dataset.batches(km.MaskRCNNConfig(**fields))
