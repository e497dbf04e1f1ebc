"""Mask R-CNN (He et al. 2017): the whole flow, from pixels to masks and from batch to losses."""

import os
import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from keras_maskrcnn.backbones import FPN, ResNet
from keras_maskrcnn.batch import backbone_pixels, check_inputs, check_training_batch
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.detections import Detections
from keras_maskrcnn.ops.nms import batched_nms
from keras_maskrcnn.ops.replicas import max_over_replicas, replica_seed
from keras_maskrcnn.roi import BoxHead, MaskHead, Res5, detect, make_pooling, mask_probabilities
from keras_maskrcnn.rpn import ProposalLayer, RPNHead, make_anchors
from keras_maskrcnn.training import distribution, steps
from keras_maskrcnn.training.losses import box_losses, mask_loss, rpn_losses, softmax_mask_loss
from keras_maskrcnn.training.targets import anchor_targets, mask_targets, proposal_targets

if TYPE_CHECKING:
    from keras_maskrcnn.weights.checkpoint import ImportedWeights

STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64, "res4": 16, "res5": 32}
LOSSES = ("rpn_objectness_loss", "rpn_box_loss", "box_class_loss", "box_loss", "mask_loss")


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class MaskRCNN(keras.Model):
    """Mask R-CNN, or Faster R-CNN where `config.mask` is false.

        image -> backbone -> FPN -> RPN -> proposals -> RoIAlign -> box head -> detections
                                                    \\-> RoIAlign -> mask head -> masks

    With `neck="c4"` there is no FPN: all comes from stage 4 of the backbone, and stage 5 lies
    between RoIAlign and both heads. With `neck="c5"` all comes from stage 5.

    Args:
        config: The name of a shipped config, a `.yaml` file, a `MaskRCNNConfig`, or its fields in
            a dict.
        name: Name of the model.
        dtype: Keras dtype policy, e.g. `"mixed_bfloat16"`.
        **overrides: Fields of the config to change.

    Call arguments:
        x: `{"images": (B, H, W, 3) RGB 0..255, or the config's `channels` and `pixel_range`,
            "image_sizes": (B, 2) int32 height and width of the valid top-left part}`; without
            `"image_sizes"`, or as a plain tensor, all is valid.
        training: Whether batch norms that train use the statistics of the batch.

    Returns:
        `{"boxes": (B, D, 4) xyxy pixels, "scores": (B, D), "classes": (B, D) int32, -1 where
        padded, "num_detections": (B,) int32, "masks": (B, D, m, m) probabilities in the box}`.

    Raises:
        ValueError: An unknown or contradicting field of the config, or a wrong shape of `x`.

    Example:
        >>> model = MaskRCNN("mask_rcnn_resnet50_fpn", backbone="resnet14", num_classes=3)
        >>> model({"images": tf.zeros((1, 64, 96, 3))})["boxes"].shape
        TensorShape([1, 100, 4])
    """

    def __init__(
        self,
        config: str | os.PathLike | MaskRCNNConfig | dict[str, Any] = "mask_rcnn_resnet50_fpn",
        *,
        name: str | None = None,
        dtype: str | keras.DTypePolicy | None = None,
        trainable: bool = True,
        **overrides: Any,
    ):
        super().__init__(name=name or "mask_rcnn", dtype=dtype, trainable=trainable)
        self.supports_jit = False  # XLA lacks suppression; see ProposalLayer
        self.autocast = False  # pixels are normalised in float32, whatever the policy
        self.config = c = _resolve_config(config, overrides)
        self.suppress = batched_nms  # exports put another format's own in its place
        head_norm = {
            "norm": None if c.head_norm == "none" else c.head_norm,
            "epsilon": c.norm_epsilon,
            "dtype": self.dtype_policy,
        }
        self._make_backbone(c, head_norm)
        self._make_rpn(c)
        self._make_heads(c, head_norm)
        # A weight, so that a model that was saved goes on with the samples it would have drawn.
        self.sampling_seed = self.add_weight(
            name="sampling_seed",
            shape=(2,),
            dtype="int32",
            initializer=lambda shape, dtype: keras.random.randint(shape, 0, 2**31 - 1, dtype),
            trainable=False,
        )
        names = ("loss", *LOSSES) if c.mask else ("loss", *LOSSES[:-1])
        self.loss_trackers = {name: keras.metrics.Mean(name=name) for name in names}
        self._build_layers()

    def _make_backbone(self, c, head_norm):
        dtype, last_stage = self.dtype_policy, 4 if c.neck == "c4" else 5
        stages = (c.backbone, c.backbone_width, c.stride_in_1x1, c.norm, c.norm_epsilon)
        self.backbone = ResNet(*stages, freeze_at=c.freeze_at, last_stage=last_stage, dtype=dtype)
        if c.neck == "fpn":
            self.fpn = FPN(c.fpn_channels, **head_norm)
        elif c.neck == "c4":
            self.res5 = Res5(*stages, trainable=c.freeze_at < 5, dtype=dtype)

    def _make_rpn(self, c):
        anchors_per_cell = len(c.anchor_sizes[0]) * len(c.anchor_aspect_ratios)
        self.rpn_head = RPNHead(
            c.feature_channels, anchors_per_cell, c.rpn_conv_depth, dtype=self.dtype_policy
        )
        self.proposals = {
            training: ProposalLayer(
                pre_nms_top_n, post_nms_top_n, c.rpn_nms_threshold, c.rpn_min_size
            )
            for training, pre_nms_top_n, post_nms_top_n in (
                ("train", c.rpn_pre_nms_top_n_train, c.rpn_post_nms_top_n_train),
                ("test", c.rpn_pre_nms_top_n_test, c.rpn_post_nms_top_n_test),
            )
        }

    def _make_heads(self, c, head_norm):
        strides, dtype = [STRIDES[level] for level in c.roi_levels], self.dtype_policy
        self.box_pooling = make_pooling(c, c.box_pool_size, strides, dtype)
        self.box_head = BoxHead(c.num_classes, c.box_head_units, c.box_head_channels, **head_norm)
        if c.mask:
            self.mask_pooling = make_pooling(c, c.mask_pool_size, strides, dtype)
            self.mask_head = MaskHead(
                c.mask_channels, c.mask_head_channels, c.mask_deconv_channels, **head_norm
            )

    def _build_layers(self):
        """Makes all variables now, so that weights can be loaded before the first batch."""
        c = self.config
        self.backbone.build((None, None, None, c.stem_channels))
        channels = c.feature_channels
        self.rpn_head.build((None, None, None, channels))
        regions = [(None, None, n, n, channels) for n in (c.box_pool_size, c.mask_pool_size)]
        if c.neck == "fpn":
            stages = {f"res{i}": self.backbone.stage_channels(i) for i in range(2, 6)}
            self.fpn.build({stage: (None, None, None, n) for stage, n in stages.items()})
        elif c.neck == "c4":
            self.res5.build(regions[0])
            regions = [self.res5.compute_output_shape(shape) for shape in regions]
        self.box_head.build(regions[0])
        if c.mask:
            self.mask_head.build(regions[1])
        self.built = True

    def build(self, input_shape=None):
        """Nothing is left to build: all variables exist from the start."""

    def call(self, x: Any, training: bool = False) -> dict[str, tf.Tensor]:
        stages = self.stages(x, training=training)
        inner = ("features", "proposals", "proposal_logits")
        return {name: value for name, value in stages.items() if name not in inner}

    def stages(self, x: Any, training: bool = False) -> dict[str, Any]:
        """What `call` returns, and what lies before it.

        Returns:
            The outputs of `call`, `"features"` (a dict of maps by level: `p2`..`p6`, `res4` or
            `res5`), `"proposals"` (B, R, 4) xyxy pixels, best first, `"proposal_logits"` (B, R).
        """
        images, image_sizes = check_inputs(x, self.config)
        features = self.extract_features(images, image_sizes, training)
        logits, deltas, anchors = self.run_rpn(features)
        proposals, proposal_logits, num_proposals = self.proposals["test"](
            logits, deltas, anchors, image_sizes, suppress=self.suppress
        )
        detections = self.detect(features, proposals, num_proposals, image_sizes)
        if self.config.mask:
            detections["masks"] = self.detect_masks(features, detections)
        return {
            "features": features,
            "proposals": proposals,
            "proposal_logits": proposal_logits,
            **detections,
        }

    def extract_features(self, images, image_sizes, training=False) -> dict[str, tf.Tensor]:
        """The levels p2 to p6 of the pyramid, or stage 4 or 5 alone (C4, C5), from pixels."""
        c = self.config
        pixels = backbone_pixels(images, image_sizes, c)
        stages = self.backbone(tf.cast(pixels, self.compute_dtype), training=training)
        levels = self.fpn(stages, training=training) if c.neck == "fpn" else stages
        return {name: levels[name] for name in c.levels}

    def run_rpn(self, features):
        """For each level: objectness logits (B, A_i), box deltas (B, A_i, 4), anchors (A_i, 4)."""
        c = self.config
        logits, deltas, anchors = [], [], []
        image_size = tf.shape(features[c.levels[0]])[1:3] * STRIDES[c.levels[0]]
        for level, sizes in zip(c.levels, c.anchor_sizes, strict=True):
            level_logits, level_deltas = self.rpn_head(features[level])
            _, height, width, _ = tf.unstack(tf.shape(features[level]))
            logits.append(level_logits)
            deltas.append(level_deltas)
            shape = (height, width, STRIDES[level], sizes)
            style = (c.anchor_aspect_ratios, c.anchor_style)
            anchors.append(make_anchors(*shape, *style, image_size))
        return logits, deltas, anchors

    def run_box_branch(self, features, boxes, training=False):
        """Class logits (B, R, K + 1) and box deltas (B, R, K, 4) of regions (B, R, 4)."""
        regions = self._cut_out(self.box_pooling, features, boxes, training)
        return self.box_head(regions, training=training)

    def run_mask_branch(self, features, boxes, classes, training=False):
        """Mask logits (B, R, m, m) of regions (B, R, 4), each of its class (B, R).

        With the softmax those of all classes and the background, (B, R, m, m, K + 1).
        """
        regions = self._cut_out(self.mask_pooling, features, boxes, training)
        if self.config.mask_loss == "softmax":
            classes = None
        elif self.config.class_agnostic_mask:
            classes = tf.zeros_like(classes)
        return self.mask_head(regions, classes, training=training)

    def _cut_out(self, roi_align, features, boxes, training):
        regions = roi_align([features[level] for level in self.config.roi_levels], boxes)
        return self.res5(regions, training=training) if self.config.neck == "c4" else regions

    def detect(self, features, proposals, num_proposals, image_sizes) -> dict[str, tf.Tensor]:
        """The final boxes, scores and classes."""
        class_logits, deltas = self.run_box_branch(features, proposals)
        return detect(
            class_logits,
            deltas,
            proposals,
            num_proposals,
            image_sizes,
            score_threshold=(self.config.class_score_thresholds or self.config.box_score_threshold),
            nms_threshold=self.config.box_nms_threshold,
            detections_per_image=self.config.box_detections_per_image,
            regression_weights=self.config.box_regression_weights,
            min_size=self.config.box_min_size,
            suppress=self.suppress,
        )

    def detect_masks(self, features, detections) -> tf.Tensor:
        """Mask probabilities (B, D, m, m) of the detections, 0 where there is none."""
        most = tf.maximum(tf.reduce_max(detections["num_detections"]), 1)
        boxes, classes = detections["boxes"][:, :most], detections["classes"][:, :most]
        logits = self.run_mask_branch(features, boxes, classes)
        masks = mask_probabilities(logits, classes, self.config.mask_loss)
        masks = tf.where((classes >= 0)[..., None, None], masks, 0.0)
        detections_per_image = self.config.box_detections_per_image
        masks = tf.pad(masks, [[0, 0], [0, detections_per_image - most], [0, 0], [0, 0]])
        size = self.config.mask_size
        return tf.reshape(masks, [-1, detections_per_image, size, size])

    def training_losses(
        self, x: Any, y: dict[str, Any], training: bool = True
    ) -> dict[str, tf.Tensor]:
        """The losses by name, scalars; `train_step` minimises their sum.

        Args:
            x: As `call` takes it.
            y: `{"boxes": (B, N, 4) xyxy pixels, "classes": (B, N) int32, -1 where padded,
                "masks": (B, N, M, M) uint8, each cut out in its box}`.
            training: Whether batch norms that train use the statistics of the batch.
        """
        c = self.config
        images, image_sizes, gt_boxes, gt_classes, gt_masks = check_training_batch(x, y, c)
        features = self.extract_features(images, image_sizes, training)

        logits, deltas, anchors = self.run_rpn(features)
        gt_valid = gt_classes >= 0
        targets = anchor_targets(tf.concat(anchors, 0), gt_boxes, gt_valid, c, self._next_seed())
        sampled = targets.sample
        levels, most = [features[level] for level in c.levels], c.rpn_batch_size_per_image
        *predicted, levels = self.rpn_head.at_anchors(levels, sampled.indices, most)
        features = dict(zip(c.levels, levels, strict=True))
        sampled_targets = targets.deltas, sampled.foreground, sampled.valid
        losses = rpn_losses(*predicted, *sampled_targets, most, c.rpn_smooth_l1_beta)

        proposals, _, num_proposals = self.proposals["train"](logits, deltas, anchors, image_sizes)
        seed = self._next_seed()
        regions = proposal_targets(proposals, num_proposals, gt_boxes, gt_classes, c, seed)
        class_logits, deltas = self.run_box_branch(features, regions.boxes, training)
        region_targets = regions.classes, regions.deltas, regions.foreground, regions.valid
        losses |= box_losses(class_logits, deltas, *region_targets, c.box_smooth_l1_beta)
        if c.mask:
            losses["mask_loss"] = self._mask_loss(features, regions, gt_boxes, gt_masks, training)
        return losses

    def _next_seed(self):
        seed = tf.identity(self.sampling_seed.value)
        self.sampling_seed.assign(seed + [0, 1])
        return replica_seed(seed)

    def _mask_loss(self, features, regions, gt_boxes, gt_masks, training):
        """The mask branch runs on the foreground only, which comes first."""
        counts = tf.reduce_sum(tf.cast(regions.foreground, tf.int32), axis=1)
        most = max_over_replicas(tf.maximum(tf.reduce_max(counts), 1))  # alike for batch norms
        boxes, classes = regions.boxes[:, :most], regions.classes[:, :most]
        foreground, matched = regions.foreground[:, :most], regions.matched[:, :most]
        classes = tf.where(foreground, classes, 0)
        logits = self.run_mask_branch(features, boxes, classes, training)
        c = self.config
        targets = mask_targets(boxes, matched, gt_boxes, gt_masks, c.mask_size, c.mask_target_style)
        if c.mask_loss == "softmax":
            return softmax_mask_loss(logits, classes, targets, foreground)
        return mask_loss(logits, targets, foreground)

    compile = steps.refusing_unused(keras.Model.compile)
    compile_from_config = steps.compile_from_config
    fit = steps.refusing_unused(steps.leaving_datasets_in_order(keras.Model.fit))
    train_on_batch = steps.refusing_unused(keras.Model.train_on_batch)
    train_step = steps.train_step
    test_step = steps.test_step
    make_train_function = distribution.make_train_function
    make_test_function = distribution.make_test_function

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """In place of Keras' own, which fails under several workers."""
        distribution.build_optimizer(self)

    def predict_step(self, data):
        sizes = {name: data[name] for name in ("image_sizes", "original_sizes")}
        return {**self(data, training=False), **sizes}

    @property
    def metrics(self):
        return list(self.loss_trackers.values())

    def predict(
        self,
        x: Any,
        batch_size: int = 1,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Iterable[keras.callbacks.Callback] | None = None,
        augment: bool = False,
        tile_size: int | None = None,
        tile_overlap: float = 0.25,
    ) -> list[Detections]:
        """Finds the objects in images of any sizes; see `prediction.predict.predict`."""
        from keras_maskrcnn.prediction.predict import predict

        how = batch_size, verbose, steps, callbacks, augment, tile_size, tile_overlap
        return predict(self, x, *how)

    def predict_on_batch(self, x: Any) -> list[Detections]:
        """As `predict`, without callbacks and progress; the tensors of a batch are `model(x)`."""
        return self.predict(x, verbose=0)

    def save(self, filepath: str | os.PathLike, overwrite: bool = True, **kwargs: Any) -> None:
        """As `keras.Model.save`; of HDF5 Keras could not load the model by itself."""
        if str(filepath).endswith((".h5", ".hdf5")):
            advice = "save the model as .keras, or its weights with save_weights as .weights.h5"
            raise ValueError(f"{filepath}: {advice}.")
        super().save(filepath, overwrite, **kwargs)

    def import_weights(self, path: str | os.PathLike) -> "ImportedWeights":
        """Loads a published checkpoint into this model; see `weights.checkpoint.import_weights`."""
        from keras_maskrcnn.weights.checkpoint import import_weights

        return import_weights(self, path)

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike, **overrides: Any) -> "MaskRCNN":
        """The model that a published checkpoint holds; see `weights.checkpoint.load_model`."""
        from keras_maskrcnn.weights.checkpoint import load_model

        return load_model(cls, path, **overrides)

    @classmethod
    def from_preset(cls, name: str | os.PathLike, **overrides: Any) -> "MaskRCNN":
        """A model of a preset's name, a folder or `hf://user/name`; see `weights.presets`."""
        from keras_maskrcnn.weights.presets import load_preset

        return load_preset(cls, name, **overrides)

    def save_to_preset(
        self,
        folder: str | os.PathLike,
        results: dict[str, float] | None = None,
        licence: str | None = None,
        description: str = "",
    ) -> None:
        """Writes a folder for `from_preset`; see `weights.preset_folder.save_to_preset`."""
        from keras_maskrcnn.weights.preset_folder import save_to_preset

        save_to_preset(self, folder, results, licence, description)

    def export(self, path: str | os.PathLike, format: str = "saved_model", **kwargs: Any) -> None:
        """Writes the model as `"saved_model"`, `"onnx"` or `"litert"`; see `export.export`."""
        from keras_maskrcnn.export import export

        export(self, path, format, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "config": self.config.to_dict()}


def _resolve_config(config, overrides):
    if isinstance(config, dict):
        config = MaskRCNNConfig.from_dict(config)
    elif isinstance(config, os.PathLike) or str(config).endswith((".yaml", ".yml")):
        config = MaskRCNNConfig.from_yaml(pathlib.Path(config))
    elif isinstance(config, str):
        config = MaskRCNNConfig.from_name(config)
    return config.replace(**overrides)
