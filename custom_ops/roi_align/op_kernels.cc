// The ops' kernels: inputs checked, outputs allocated, the work handed on.

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cpu_kernels.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor_util.h"
#ifdef KERAS_MASKRCNN_CUDA
#include "cuda_kernels.h"
#include "xla/stream_executor/stream.h"
#endif

#define EXPORTED extern "C" __attribute__((visibility("default"), used))

// Read from the file before it is loaded: one that was built for another TensorFlow may crash it.
EXPORTED const char keras_maskrcnn_built_for[] =
    "keras_maskrcnn built for TensorFlow " KERAS_MASKRCNN_TENSORFLOW
#ifdef KERAS_MASKRCNN_CUDA
    " with CUDA"
#else
    " without CUDA"
#endif
    ".";

EXPORTED const char* keras_maskrcnn_instruction_set() {
  static const char* const names[] = {"baseline", "AVX2", "AVX-512"};
  return names[roi::BestInstructionSet()];
}

namespace {

using absl::OkStatus;
using tensorflow::OpInputList;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::OpOutputList;
using absl::Status;
using tensorflow::Tensor;
using tensorflow::TensorShape;

template <typename... Parts>
Status InvalidArgument(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

constexpr int kLargestSamplingRatio = 1024;

// The attributes, as far as they are known before the inputs are.
Status ReadAttributes(OpKernelConstruction* c, bool is_pool, roi::Problem* p) {
  std::vector<int> strides;
  TF_RETURN_IF_ERROR(c->GetAttr("levels", &p->levels));
  TF_RETURN_IF_ERROR(c->GetAttr("strides", &strides));
  TF_RETURN_IF_ERROR(c->GetAttr("output_size", &p->output_size));
  TF_RETURN_IF_ERROR(c->GetAttr("canonical_scale", &p->canonical_scale));
  if (p->levels > roi::kMaxLevels || (int)strides.size() != p->levels) {
    return InvalidArgument("strides must have one entry for each of the ", p->levels,
                           " maps, and there may be ", (int)roi::kMaxLevels, " of them; got ",
                           strides.size());
  }
  for (int i = 0; i < p->levels; ++i) {
    const bool is_power_of_two = (strides[i] & (strides[i] - 1)) == 0;
    if (strides[i] < 1 || (p->levels > 1 && !is_power_of_two)) {
      return InvalidArgument("strides[", i, "] must be a power of two, got ", strides[i]);
    }
    p->stride[i] = (float)strides[i];
  }
  if (!(p->canonical_scale > 0)) {
    return InvalidArgument("canonical_scale must be above 0, got ", p->canonical_scale);
  }
  p->pooling = roi::kPool;
  if (is_pool) return OkStatus();
  std::string aggregation;
  TF_RETURN_IF_ERROR(c->GetAttr("sampling_ratio", &p->sampling_ratio));
  TF_RETURN_IF_ERROR(c->GetAttr("aligned", &p->aligned));
  TF_RETURN_IF_ERROR(c->GetAttr("aggregation", &aggregation));
  p->pooling = aggregation == "max" ? roi::kAlignMax : roi::kAlignAverage;
  if (p->sampling_ratio > kLargestSamplingRatio) {
    return InvalidArgument("sampling_ratio must be at most ", kLargestSamplingRatio, ", got ",
                           p->sampling_ratio);
  }
  return OkStatus();
}

bool FitsInt(int64_t value) { return value <= std::numeric_limits<int>::max(); }

std::vector<TensorShape> ShapesOf(const OpInputList& features) {
  std::vector<TensorShape> shapes;
  for (int i = 0; i < features.size(); ++i) shapes.push_back(features[i].shape());
  return shapes;
}

// The problem with the shapes of the inputs, once they are found to fit together.
Status ReadShapes(const std::vector<TensorShape>& features, const Tensor& boxes,
                  roi::Problem* p) {
  if (boxes.dims() != 3 || boxes.dim_size(2) != 4) {
    return InvalidArgument("boxes must be (batch, regions, 4), got ",
                           boxes.shape().DebugString());
  }
  for (size_t i = 0; i < features.size(); ++i) {
    const TensorShape& shape = features[i];
    if (shape.dims() != 4) {
      return InvalidArgument("features[", i, "] must be (batch, height, width, channels), got ",
                             shape.DebugString());
    }
    if (shape.dim_size(0) != boxes.dim_size(0)) {
      return InvalidArgument("features[", i, "] has a batch of ", shape.dim_size(0),
                             ", boxes one of ", boxes.dim_size(0));
    }
    if (shape.dim_size(3) != features[0].dim_size(3)) {
      return InvalidArgument("features[", i, "] has ", shape.dim_size(3), " channels, features[0] ",
                             features[0].dim_size(3));
    }
    if (shape.dim_size(1) < 1 || shape.dim_size(2) < 1) {
      return InvalidArgument("features[", i, "] has no cells: ", shape.DebugString());
    }
    if (!FitsInt(shape.dim_size(1)) || !FitsInt(shape.dim_size(2))) {
      return InvalidArgument("features[", i, "] is too large: ", shape.DebugString());
    }
    p->height[i] = (int)shape.dim_size(1);
    p->width[i] = (int)shape.dim_size(2);
  }
  if (!FitsInt(boxes.dim_size(0) * boxes.dim_size(1)) || !FitsInt(features[0].dim_size(3))) {
    return InvalidArgument("boxes ", boxes.shape().DebugString(), " with ",
                           features[0].dim_size(3), " channels are too many");
  }
  p->batch = (int)boxes.dim_size(0);
  p->regions = (int)boxes.dim_size(1);
  p->channels = (int)features[0].dim_size(3);
  return OkStatus();
}

TensorShape PooledShape(const roi::Problem& p) {
  return TensorShape({p.batch, p.regions, p.output_size, p.output_size, p.channels});
}

// How the kernels see values of a TensorFlow type.
template <typename T>
struct Stored {
  using Type = T;
};
template <>
struct Stored<Eigen::half> {
  using Type = roi::Half;
};
template <>
struct Stored<Eigen::bfloat16> {
  using Type = roi::BFloat16;
};

// A pointer to each level's map; none where a gradient has no need of them.
template <typename T>
std::vector<const typename Stored<T>::Type*> Maps(const roi::Problem& p,
                                                  const OpInputList& features) {
  std::vector<const typename Stored<T>::Type*> maps(p.levels);
  for (int i = 0; i < features.size(); ++i) {
    maps[i] = static_cast<const typename Stored<T>::Type*>(features[i].data());
  }
  return maps;
}

// SchedulingParams::Fixed does the same, from TensorFlow 2.20 on.
roi::ParallelFor ThreadPool(OpKernelContext* c) {
  using Pool = tensorflow::thread::ThreadPool;
  Pool* workers = c->device()->tensorflow_cpu_worker_threads()->workers;
  return [workers](int64_t count, int64_t block,
                   const std::function<void(int64_t, int64_t)>& task) {
    const Pool::SchedulingParams blocks(Pool::SchedulingStrategy::kFixedBlockSize, std::nullopt,
                                        block);
    workers->ParallelFor(count, blocks, task);
  };
}

template <typename T>
struct CpuPooling {
  using Value = typename Stored<T>::Type;

  static Status Forward(OpKernelContext* c, const roi::Problem& p, const OpInputList& features,
                        const Tensor& boxes, Tensor* pooled) {
    roi::Forward(p, Maps<T>(p, features).data(), boxes.flat<float>().data(),
                 static_cast<Value*>(pooled->data()), ThreadPool(c));
    return OkStatus();
  }

  static Status Backward(OpKernelContext* c, const roi::Problem& p, const OpInputList& features,
                         const Tensor& boxes, const Tensor& upstream,
                         const std::vector<void*>& gradients) {
    std::vector<Value*> maps;
    for (void* gradient : gradients) maps.push_back(static_cast<Value*>(gradient));
    roi::Backward(p, Maps<T>(p, features).data(), boxes.flat<float>().data(),
                  static_cast<const Value*>(upstream.data()), maps.data(), ThreadPool(c));
    return OkStatus();
  }
};

#ifdef KERAS_MASKRCNN_CUDA

template <typename T>
constexpr roi::DataType kDataType = roi::kFloat32;
template <>
constexpr roi::DataType kDataType<double> = roi::kFloat64;
template <>
constexpr roi::DataType kDataType<Eigen::half> = roi::kFloat16;
template <>
constexpr roi::DataType kDataType<Eigen::bfloat16> = roi::kBFloat16;

void* CudaStream(OpKernelContext* c) {
  return c->op_device_context()->stream()->platform_specific_handle().stream;
}

Status CheckLaunch(int cuda_error) {
  if (cuda_error == 0) return OkStatus();
  return absl::InternalError(
      absl::StrCat("the CUDA kernel could not be launched: error ", cuda_error));
}

template <typename T>
struct CudaPooling {
  static std::vector<const void*> Pointers(const roi::Problem& p, const OpInputList& features) {
    std::vector<const void*> pointers(p.levels);
    for (int i = 0; i < features.size(); ++i) pointers[i] = features[i].data();
    return pointers;
  }

  static Status Forward(OpKernelContext* c, const roi::Problem& p, const OpInputList& features,
                        const Tensor& boxes, Tensor* pooled) {
    return CheckLaunch(roi_forward_cuda(&p, kDataType<T>, Pointers(p, features).data(),
                                        boxes.flat<float>().data(), pooled->data(),
                                        CudaStream(c)));
  }

  static Status Backward(OpKernelContext* c, const roi::Problem& p, const OpInputList& features,
                         const Tensor& boxes, const Tensor& upstream,
                         const std::vector<void*>& gradients) {
    Tensor workspace;
    const int64_t bytes = (int64_t)roi_backward_cuda_workspace(&p, kDataType<T>);
    TF_RETURN_IF_ERROR(c->allocate_temp(tensorflow::DT_UINT8, TensorShape({bytes}), &workspace));
    return CheckLaunch(roi_backward_cuda(&p, kDataType<T>, Pointers(p, features).data(),
                                         boxes.flat<float>().data(), upstream.data(),
                                         gradients.data(), workspace.data(), CudaStream(c)));
  }
};

#endif  // KERAS_MASKRCNN_CUDA

template <typename Pooling, bool kIsPool>
class ForwardOp : public OpKernel {
 public:
  explicit ForwardOp(OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, ReadAttributes(c, kIsPool, &attributes_));
  }

  void Compute(OpKernelContext* c) override {
    roi::Problem p = attributes_;
    OpInputList features;
    OP_REQUIRES_OK(c, c->input_list("features", &features));
    const Tensor& boxes = c->input(p.levels);
    OP_REQUIRES_OK(c, ReadShapes(ShapesOf(features), boxes, &p));
    TensorShape shape;
    OP_REQUIRES_OK(c, TensorShape::BuildTensorShape(
                          {p.batch, p.regions, p.output_size, p.output_size, p.channels}, &shape));
    Tensor* pooled = nullptr;
    OP_REQUIRES_OK(c, c->allocate_output(0, shape, &pooled));
    if (shape.num_elements() == 0) return;
    OP_REQUIRES_OK(c, Pooling::Forward(c, p, features, boxes, pooled));
  }

 private:
  roi::Problem attributes_ = {};
};

template <typename Pooling, bool kIsPool>
class BackwardOp : public OpKernel {
 public:
  explicit BackwardOp(OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, ReadAttributes(c, kIsPool, &attributes_));
  }

  void Compute(OpKernelContext* c) override {
    roi::Problem p = attributes_;
    OpInputList features, shape_tensors;
    const Tensor *boxes, *upstream;
    OP_REQUIRES_OK(c, c->input_list("features", &features));
    OP_REQUIRES_OK(c, c->input_list("shapes", &shape_tensors));
    OP_REQUIRES_OK(c, c->input("boxes", &boxes));
    OP_REQUIRES_OK(c, c->input("upstream", &upstream));
    std::vector<TensorShape> shapes(p.levels);
    for (int i = 0; i < p.levels; ++i) {
      OP_REQUIRES_OK(c, tensorflow::tensor::MakeShape(shape_tensors[i], &shapes[i]));
    }
    OP_REQUIRES_OK(c, ReadShapes(shapes, *boxes, &p));
    if (p.pooling != roi::kAlignAverage || features.size() > 0) {
      OP_REQUIRES(c, ShapesOf(features) == shapes,
                  InvalidArgument("features must have the given shapes"));
    }
    OP_REQUIRES(c, upstream->shape() == PooledShape(p),
                InvalidArgument("upstream must be ", PooledShape(p).DebugString(), ", got ",
                                upstream->shape().DebugString()));
    std::vector<void*> gradients;
    for (int i = 0; i < p.levels; ++i) {
      Tensor* gradient = nullptr;
      OP_REQUIRES_OK(c, c->allocate_output(i, shapes[i], &gradient));
      gradients.push_back(gradient->data());
    }
    if (p.batch == 0 || p.channels == 0) return;
    OP_REQUIRES_OK(c, Pooling::Backward(c, p, features, *boxes, *upstream, gradients));
  }

 private:
  roi::Problem attributes_ = {};
};

#define REGISTER(DEVICE, POOLING, T)                                                            \
  REGISTER_KERNEL_BUILDER(                                                                      \
      Name("KerasMaskrcnn>RoiAlign").Device(DEVICE).TypeConstraint<T>("T"),                     \
      ForwardOp<POOLING<T>, false>);                                                            \
  REGISTER_KERNEL_BUILDER(                                                                      \
      Name("KerasMaskrcnn>RoiAlignGrad").Device(DEVICE).TypeConstraint<T>("T").HostMemory("shapes"), \
      BackwardOp<POOLING<T>, false>);                                                           \
  REGISTER_KERNEL_BUILDER(Name("KerasMaskrcnn>RoiPool").Device(DEVICE).TypeConstraint<T>("T"),  \
                          ForwardOp<POOLING<T>, true>);                                         \
  REGISTER_KERNEL_BUILDER(                                                                      \
      Name("KerasMaskrcnn>RoiPoolGrad").Device(DEVICE).TypeConstraint<T>("T").HostMemory("shapes"), \
      BackwardOp<POOLING<T>, true>);

REGISTER(tensorflow::DEVICE_CPU, CpuPooling, float)
REGISTER(tensorflow::DEVICE_CPU, CpuPooling, double)
REGISTER(tensorflow::DEVICE_CPU, CpuPooling, Eigen::half)
REGISTER(tensorflow::DEVICE_CPU, CpuPooling, Eigen::bfloat16)
#ifdef KERAS_MASKRCNN_CUDA
REGISTER(tensorflow::DEVICE_GPU, CudaPooling, float)
REGISTER(tensorflow::DEVICE_GPU, CudaPooling, double)
REGISTER(tensorflow::DEVICE_GPU, CudaPooling, Eigen::half)
REGISTER(tensorflow::DEVICE_GPU, CudaPooling, Eigen::bfloat16)
#endif

}  // namespace
