"""A folder with small stand-ins for what the documentation names: data, checkpoints, downloads."""

import importlib.util
import json
import os
import pickle
import shutil

import cv2
import keras
import numpy as np
import pytest

import keras_maskrcnn as km
from keras_maskrcnn import config as config_module
from keras_maskrcnn.prediction.video_writer import VideoWriter
from keras_maskrcnn.weights import detectron2, torchvision
from keras_maskrcnn.weights.coco_classes import CONTIGUOUS_NAMES, NAMES_BY_ID
from keras_maskrcnn.weights.layout import sources
from keras_maskrcnn.weights.presets import PRESETS

CLASSES = ("ring", "star", "cross")
SIDE = 64
# A shipped config by its name is this small one, whatever the name, with the name's neck.
NARROW = {
    "backbone": "resnet14",
    "backbone_width": 8,
    "norm": "batch_norm",
    "freeze_at": 0,
    "rpn_pre_nms_top_n_train": 50,
    "rpn_pre_nms_top_n_test": 50,
    "rpn_post_nms_top_n_train": 20,
    "rpn_post_nms_top_n_test": 20,
    "box_batch_size_per_image": 8,
    "roi_sampling_ratio": 2,
    "image_min_size": SIDE,
}
NARROW_FPN = {
    "fpn_channels": 16,
    "anchor_sizes": [[8], [16], [32], [64], [128]],
    "box_head_units": [16],
    "mask_head_channels": [16],
    "mask_deconv_channels": 16,
}
# What files of weights do not say and `from_checkpoint` therefore has as published.
OF_CHECKPOINTS = {**NARROW, **NARROW_FPN, "norm": "frozen_batch_norm", "roi_sampling_ratio": 0}


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory):
    """A folder that holds everything that a page may name."""
    folder = tmp_path_factory.mktemp("stand_ins")
    keras.utils.set_random_seed(0)
    write_data(folder)
    write_configs(folder / "configs")
    write_checkpoints(folder)
    write_presets(folder / "keras_home/keras_maskrcnn")
    write_models(folder)
    return folder


@pytest.fixture
def workplace(stand_ins, tmp_path, monkeypatch):
    """A copy of the stand-ins, the current folder while a page runs."""
    shutil.copytree(stand_ins, tmp_path, dirs_exist_ok=True, copy_function=os.link)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras_home"))
    monkeypatch.setattr(config_module, "_configs_folder", lambda: tmp_path / "configs")
    return tmp_path


def write_data(folder):
    """Six pictures of three classes, in COCO's format and as others that pages name."""
    many = km.data.shapes.Scene(number=(4, 8))  # so that every class is in each set
    options = {"size": SIDE, "seed": 3, "class_names": CLASSES, "scene": many}
    whole = km.data.shapes.generate(folder / "whole", 6, **options)
    content = json.loads((folder / "whole/annotations.json").read_text(encoding="utf-8"))
    for images in ("images", "photos", "val2017"):
        shutil.copytree(folder / "whole/images", folder / images)
    (folder / "train.json").write_text(json.dumps(of_images(content, slice(0, 4))))
    (folder / "val.json").write_text(json.dumps(of_images(content, slice(4, 6))))
    categories = [{"id": i, "name": name} for i, name in enumerate(CONTIGUOUS_NAMES, 1)]
    (folder / "val2017.json").write_text(json.dumps({**content, "categories": categories}))
    picture = cv2.imread(whole.records[0].path)
    for name in ("a.jpg", "b.png"):
        cv2.imwrite(str(folder / name), picture)
    cv2.imwrite(str(folder / "photo.jpg"), cv2.resize(picture, (640, 480)))
    with VideoWriter(folder / "in.mp4", fps=25) as writer:
        for i in range(6):
            writer.write(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), i / 25)
    field = cv2.copyMakeBorder(picture, 600, 436, 800, 536, cv2.BORDER_REPLICATE)
    cv2.imwrite(str(folder / "field.tif"), field)
    (folder / "files.txt").write_text("a.jpg\nb.png\nphotos/000001.jpg\n")
    for name, annotated in (("train", "annotated"), ("val", "annotated_val")):
        dataset = km.data.CocoDataset(folder / f"{name}.json", folder / "images")
        km.data.convert(dataset, "coco", folder / name)
        km.data.convert(dataset, "via", folder / "balloon" / name)
        km.data.convert(dataset, "labelme", folder / annotated)
    write_four_channels(folder)
    shutil.rmtree(folder / "whole")


def write_four_channels(folder):
    """The same pictures with a fourth channel, in 16 bits."""
    (folder / "four/images").mkdir(parents=True)
    for name in ("train", "val"):
        content = json.loads((folder / f"{name}.json").read_text())
        for entry in content["images"]:
            pixels = cv2.imread(str(folder / "images" / entry["file_name"]))[:, :, ::-1]
            entry["file_name"] = f"{entry['id']}.npy"
            deep = np.dstack([pixels, pixels.mean(axis=2)]).astype(np.uint16) * 257
            np.save(folder / "four/images" / entry["file_name"], deep)
        (folder / f"four/{name}.json").write_text(json.dumps(content))


def of_images(content, chosen):
    """A COCO file's content, of some of its images."""
    images = content["images"][chosen]
    ids = {image["id"] for image in images}
    annotations = [a for a in content["annotations"] if a["image_id"] in ids]
    return {**content, "images": images, "annotations": annotations}


def write_configs(folder):
    """Small configs by the names of the shipped ones."""
    folder.mkdir()
    for name in config_module.shipped_configs():
        narrow = NARROW if name.endswith("c4") else {**NARROW, **NARROW_FPN}
        config = km.MaskRCNNConfig.from_name(name).replace(**narrow)
        config.to_yaml(folder / f"{name}.yaml")


def write_checkpoints(folder):
    """Files of the published names and layouts, drawn small."""
    model = km.MaskRCNN(km.MaskRCNNConfig(**OF_CHECKPOINTS))
    tensors = published(model, detectron2)
    content = pickle.dumps({"model": tensors, "__author__": "stand-in"})
    (folder / "model_final_f10217.pkl").write_bytes(content)
    if importlib.util.find_spec("torch"):
        tensors = published(model, torchvision)
        tensors = {name: with_background(value, name) for name, value in tensors.items()}
        save_torch(tensors, folder / "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth")
        body = "backbone.body."
        classifier = {n.removeprefix(body): t for n, t in tensors.items() if n.startswith(body)}
        save_torch(classifier, folder / "resnet50-11ad3fa6.pth")


def published(model, source):
    """A model's weights by the names of a source, in PyTorch's layout."""
    tensors = {}
    for variable, name, _ in sources(model, source):
        value = variable.numpy()
        if name.endswith(("mask_head.predictor.weight", "mask_fcn_logits.weight")):
            value = value[..., None, None]
        elif value.ndim > 1:
            value = np.moveaxis(value, (-1, -2), (0, 1))
        tensors[name] = value
    return tensors


def with_background(tensor, name):
    """torchvision's last layers count the background as the first class, those of boxes too."""
    more = 4 if "bbox_pred" in name and "rpn" not in name else 1 if "mask_fcn_logits" in name else 0
    return np.concatenate([np.zeros((more, *tensor.shape[1:]), tensor.dtype), tensor])


def save_torch(tensors, path):
    import torch

    torch.save({name: torch.tensor(value) for name, value in tensors.items()}, path)


def write_presets(folder):
    """What the cache of presets holds after a download, of small models."""
    folder.mkdir(parents=True)
    config = km.MaskRCNNConfig(**OF_CHECKPOINTS)
    for names in (CONTIGUOUS_NAMES, NAMES_BY_ID):
        of_classes = config.replace(num_classes=len(names), class_names=names)
        weights = folder / f"{len(names)}.weights.h5"
        km.MaskRCNN(of_classes).save_weights(weights)
        for name, preset in PRESETS.items():
            if preset.class_names == names:
                of_classes.to_yaml(folder / f"{name}.yaml")
                os.link(weights, folder / f"{name}.weights.h5")
    backbone = km.MaskRCNN(config).backbone
    keras.saving.save_weights(backbone, folder / "backbone.weights.h5")
    for name, preset in PRESETS.items():
        if preset.backbone is not None:
            config.to_yaml(folder / f"{name}.yaml")
            os.link(folder / "backbone.weights.h5", folder / f"{name}.weights.h5")


def write_models(folder):
    """A saved model, alone and in a run folder, that finds something in any picture."""
    config = km.MaskRCNNConfig(
        **{**NARROW, **NARROW_FPN}, class_names=CLASSES, num_classes=3, box_score_threshold=0.0
    )
    run = folder / "runs/mine"
    run.mkdir(parents=True)
    km.MaskRCNN(config).save(run / "best.keras")
    os.link(run / "best.keras", folder / "m.keras")
