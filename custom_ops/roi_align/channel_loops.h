// The loops over channels, where all the time goes, once for each instruction set.

#ifndef KERAS_MASKRCNN_ROI_ALIGN_CHANNEL_LOOPS_H_
#define KERAS_MASKRCNN_ROI_ALIGN_CHANNEL_LOOPS_H_

#include <cstddef>
#include <cstdint>

namespace roi {

// IEEE half and brain floats, held as their bits.
struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

// What sums are held in.
template <typename T>
struct Accumulator {
  using Type = float;
};
template <>
struct Accumulator<double> {
  using Type = double;
};

// `channels` values that begin at `base + offset`, and their weight in a sum.
struct Tap {
  ptrdiff_t offset;
  float weight;
};

template <typename T>
struct ChannelLoops {
  using Sum = typename Accumulator<T>::Type;

  // out[c] = sum of weight * base[offset + c]
  void (*weighted_sum)(const T* base, const Tap* taps, int count, ptrdiff_t channels, T* out);
  void (*wide_weighted_sum)(const T* base, const Tap* taps, int count, ptrdiff_t channels,
                            Sum* out);
  // out[c] += sum of weight * base[offset + c]
  void (*add_weighted_sum)(const Sum* base, const Tap* taps, int count, ptrdiff_t channels,
                           Sum* out);
  // Where value[c] > best[c], or there is no best yet: takes it, and its sample.
  void (*keep_larger)(const Sum* value, int sample, bool first, ptrdiff_t channels, Sum* best,
                      int* best_sample);
  // out[c] += weight * upstream[c] where best_sample[c] == sample
  void (*add_to_best)(const T* upstream, const int* best_sample, int sample, float weight,
                      ptrdiff_t channels, Sum* out);
  void (*narrow)(const Sum* values, ptrdiff_t count, T* out);
};

// Those of one instruction set; null where the binary was built without it.
template <typename T>
const ChannelLoops<T>* BaselineLoops();
template <typename T>
const ChannelLoops<T>* Avx2Loops();
template <typename T>
const ChannelLoops<T>* Avx512Loops();

}  // namespace roi

#endif  // KERAS_MASKRCNN_ROI_ALIGN_CHANNEL_LOOPS_H_
