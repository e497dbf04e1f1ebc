"""What a dataset refuses to be used for."""

import re
import types

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


def test_the_advice_holds_where_the_model_has_room_for_further_classes(shapes):
    dataset = shapes[0]
    names = dataset.class_names[:0:-1]
    config = km.MaskRCNNConfig(num_classes=7, class_names=(*names, "N/A", "N/A"))
    with pytest.raises(ValueError, match="would mean other classes") as error:
        dataset.batches(config)
    advice = re.search(r"Open it with class_names=(\[.*?\]), or make", str(error.value))[1]
    chosen = eval(advice, {"model": types.SimpleNamespace(config=config)})
    km.data.open_dataset(dataset.source, class_names=chosen).batches(config)
    between = config.replace(class_names=("N/A", *names, "N/A"))
    with pytest.raises(ValueError, match="would mean other classes. Make the model with num_cl"):
        dataset.batches(between)


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
