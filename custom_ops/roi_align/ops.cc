// What TensorFlow has to know of the ops: inputs, attributes and shapes.

#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace {

using absl::OkStatus;
using absl::Status;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// The batch that the maps and the boxes have in common, and the channels of the maps.
Status MergeFeatures(InferenceContext* c, int levels, ShapeHandle boxes, DimensionHandle* batch,
                     DimensionHandle* channels) {
  *batch = c->Dim(boxes, 0);
  *channels = c->UnknownDim();
  for (int level = 0; level < levels; ++level) {
    ShapeHandle map;
    TF_RETURN_IF_ERROR(c->WithRank(c->input(level), 4, &map));
    TF_RETURN_IF_ERROR(c->Merge(*batch, c->Dim(map, 0), batch));
    TF_RETURN_IF_ERROR(c->Merge(*channels, c->Dim(map, 3), channels));
  }
  return OkStatus();
}

Status ForwardShape(InferenceContext* c) {
  int levels, output_size;
  TF_RETURN_IF_ERROR(c->GetAttr("levels", &levels));
  TF_RETURN_IF_ERROR(c->GetAttr("output_size", &output_size));
  ShapeHandle boxes;
  DimensionHandle four, batch, channels;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(levels), 3, &boxes));
  TF_RETURN_IF_ERROR(c->WithValue(c->Dim(boxes, 2), 4, &four));
  TF_RETURN_IF_ERROR(MergeFeatures(c, levels, boxes, &batch, &channels));
  const DimensionHandle side = c->MakeDim(output_size);
  c->set_output(0, c->MakeShape({batch, c->Dim(boxes, 1), side, side, channels}));
  return OkStatus();
}

Status BackwardShape(InferenceContext* c) {
  int levels, num_features;
  TF_RETURN_IF_ERROR(c->GetAttr("levels", &levels));
  TF_RETURN_IF_ERROR(c->GetAttr("num_features", &num_features));
  for (int level = 0; level < levels; ++level) {
    ShapeHandle shape;
    TF_RETURN_IF_ERROR(c->MakeShapeFromShapeTensor(1 + num_features + level, &shape));
    c->set_output(level, shape);
  }
  return OkStatus();
}

}  // namespace

// Inputs of the gradients. A mean's needs the shapes of the features alone, which may be freed.
#define GRADIENT_INPUTS                                 \
  Attr("num_features: int >= 0")                        \
      .Input("upstream: T")                             \
      .Input("features: num_features * T")              \
      .Input("shapes: levels * int32")                  \
      .Input("boxes: float")                            \
      .Output("gradients: levels * T")

// The attributes that both transforms have.
#define POOLING_ATTRS                                  \
  Attr("T: {half, bfloat16, float, double}")           \
      .Attr("levels: int >= 1")                        \
      .Attr("output_size: int >= 1")                   \
      .Attr("strides: list(int)")                      \
      .Attr("canonical_scale: float = 224.0")

#define ALIGN_ATTRS                     \
  Attr("sampling_ratio: int >= 0 = 0")  \
      .Attr("aligned: bool = true")     \
      .Attr("aggregation: {'average', 'max'} = 'average'")

REGISTER_OP("KerasMaskrcnn>RoiAlign")
    .POOLING_ATTRS.ALIGN_ATTRS.Input("features: levels * T")
    .Input("boxes: float")
    .Output("pooled: T")
    .SetShapeFn(ForwardShape)
    .Doc(R"doc(
RoIAlign over a feature pyramid (Mask R-CNN, section 3).

features: Maps (batch, height, width, channels), finest first.
boxes: (batch, regions, 4) xyxy pixels.
pooled: (batch, regions, output_size, output_size, channels).
strides: Pixels per cell of each map; powers of two if there are several.
canonical_scale: Side of the boxes that belong to the map of stride 16, in pixels.
sampling_ratio: Samples of a bin along an axis; 0 is ceil(region / output_size).
aligned: Whether cell centres lie at half pixels.
aggregation: What becomes of the samples of a bin.
)doc");

REGISTER_OP("KerasMaskrcnn>RoiAlignGrad")
    .POOLING_ATTRS.ALIGN_ATTRS.GRADIENT_INPUTS.SetShapeFn(BackwardShape);

REGISTER_OP("KerasMaskrcnn>RoiPool")
    .POOLING_ATTRS.Input("features: levels * T")
    .Input("boxes: float")
    .Output("pooled: T")
    .SetShapeFn(ForwardShape)
    .Doc("RoIPool over a feature pyramid (Fast R-CNN, section 2.1); see RoiAlign.");

REGISTER_OP("KerasMaskrcnn>RoiPoolGrad")
    .POOLING_ATTRS.GRADIENT_INPUTS.SetShapeFn(BackwardShape);
