// The CPU kernels against their definition, on regular and on awkward problems, without TensorFlow:
// so that the sanitizers see every load and store.
//
//   kernel_test [rounds of fuzzing [seed]]

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "cpu_kernels.h"

namespace {

using Random = std::mt19937;

int failures = 0;

#define EXPECT(condition, ...)                                  \
  if (!(condition)) {                                           \
    std::printf("line %d: %s: ", __LINE__, #condition);         \
    std::printf(__VA_ARGS__);                                   \
    std::printf("\n");                                          \
    if (++failures > 20) std::exit(1);                          \
  }

roi::ParallelFor Threads(int number) {
  return [number](int64_t count, int64_t block,
                  const std::function<void(int64_t, int64_t)>& task) {
    std::vector<std::thread> threads;
    for (int t = 0; t < number; ++t) {
      threads.emplace_back([=, &task] {
        for (int64_t i = t * block; i < count; i += number * block) {
          task(i, std::min(i + block, count));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  };
}

float ToFloat(float value) { return value; }
float ToFloat(double value) { return (float)value; }
float ToFloat(roi::BFloat16 value) {
  const uint32_t bits = (uint32_t)value.bits << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}
float ToFloat(roi::Half value) {
  const int exponent = value.bits >> 10 & 31, fraction = value.bits & 1023;
  const float sign = value.bits >> 15 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(1024.0f + fraction, exponent - 25)
                          : std::ldexp((float)fraction, -24));
}

// Values that all types hold exactly: small multiples of 1/8.
float Draw(Random& random) { return ((int)(random() % 65) - 32) / 8.0f; }
void Set(float value, float* out) { *out = value; }
void Set(float value, double* out) { *out = value; }
void Set(float value, roi::BFloat16* out) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  out->bits = (uint16_t)(bits >> 16);
}
void Set(float value, roi::Half* out) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    *out = {(uint16_t)bits};
    if (ToFloat(*out) == value) return;
  }
}

template <typename T>
std::vector<T> DrawValues(size_t count, Random& random) {
  static const std::vector<T> table = [] {
    std::vector<T> values(65);
    for (int i = 0; i < 65; ++i) Set((i - 32) / 8.0f, &values[i]);
    return values;
  }();
  std::vector<T> values(count);
  for (T& value : values) value = table[(int)(Draw(random) * 8) + 32];
  return values;
}

struct Weighted {
  int row, column;
  double weight;
};

// The cells around a point, and their weights: none where it lies more than one cell outside.
std::vector<Weighted> Bilinear(double y, double x, int height, int width) {
  if (!(y >= -1 && y <= height && x >= -1 && x <= width)) return {};
  y = std::min(std::max(y, 0.0), height - 1.0), x = std::min(std::max(x, 0.0), width - 1.0);
  const int top = (int)y, left = (int)x;
  const int bottom = std::min(top + 1, height - 1), right = std::min(left + 1, width - 1);
  const double fy = y - top, fx = x - left;
  return {{top, left, (1 - fy) * (1 - fx)},
          {top, right, (1 - fy) * fx},
          {bottom, left, fy * (1 - fx)},
          {bottom, right, fy * fx}};
}

// All samples of a bin by the definition, each as the cells that it is made of.
std::vector<std::vector<Weighted>> Samples(const roi::Problem& p, const roi::Region& r, int i,
                                           int j) {
  std::vector<std::vector<Weighted>> samples;
  const int height = p.height[r.level], width = p.width[r.level];
  if (p.pooling == roi::kPool) {
    int top, bottom, left, right;
    roi::PoolRange(p, r.start[0], r.size[0], i, height, &top, &bottom);
    roi::PoolRange(p, r.start[1], r.size[1], j, width, &left, &right);
    for (int y = top; y < bottom; ++y) {
      for (int x = left; x < right; ++x) samples.push_back({{y, x, 1.0}});
    }
    return samples;
  }
  const int rows = roi::SampleCount(p, r.size[0]), columns = roi::SampleCount(p, r.size[1]);
  for (int s = 0; s < rows; ++s) {
    for (int t = 0; t < columns; ++t) {
      samples.push_back(Bilinear(roi::SamplePoint(p, r.start[0], r.size[0], i, s, rows),
                                 roi::SamplePoint(p, r.start[1], r.size[1], j, t, columns),
                                 height, width));
    }
  }
  return samples;
}

template <typename T>
double Value(const std::vector<Weighted>& sample, const T* map, int width, int channels, int c) {
  double value = 0;
  for (const Weighted& cell : sample) {
    value += cell.weight * ToFloat(map[((size_t)cell.row * width + cell.column) * channels + c]);
  }
  return value;
}

// One bin of one channel by the definition: its value, and the gradient of its upstream value.
template <typename T>
double DefineBin(const roi::Problem& p, const std::vector<std::vector<Weighted>>& samples,
                 const T* map, int width, int c, double upstream, double* gradient) {
  if (samples.empty()) return 0;
  const auto add = [&](const std::vector<Weighted>& sample, double share) {
    for (const Weighted& cell : sample) {
      gradient[((size_t)cell.row * width + cell.column) * p.channels + c] +=
          cell.weight * upstream * share;
    }
  };
  double sum = 0, largest = -INFINITY;
  size_t best = 0;
  for (size_t s = 0; s < samples.size(); ++s) {
    const double value = Value(samples[s], map, width, p.channels, c);
    sum += value;
    if (value > largest) largest = value, best = s;
  }
  if (p.pooling != roi::kAlignAverage) {
    add(samples[best], 1.0);
    return largest;
  }
  for (const auto& sample : samples) add(sample, 1.0 / samples.size());
  return sum / samples.size();
}

template <typename T>
struct Case {
  roi::Problem p = {};
  std::vector<float> boxes;
  std::vector<std::vector<T>> maps;
  std::vector<T> upstream;

  int64_t Pooled() const {
    return (int64_t)p.batch * p.regions * p.output_size * p.output_size * p.channels;
  }
  std::vector<const T*> Maps() const {
    std::vector<const T*> pointers;
    for (const std::vector<T>& map : maps) pointers.push_back(map.data());
    return pointers;
  }
};

float AwkwardCoordinate(Random& random) {
  const float awkward[] = {NAN, INFINITY, -INFINITY, 1e30f, -1e6f, 3e5f, 0.0f, -0.0f, 1e-40f};
  if (random() % 12 == 0) return awkward[random() % 9];
  const float spread = random() % 4 ? 80.0f : 400.0f;
  const float value = spread * ((float)(random() % 20001) / 10000.0f - 0.5f);
  return random() % 3 ? value : std::round(value);
}

template <typename T>
Case<T> DrawCase(Random& random) {
  Case<T> c;
  roi::Problem& p = c.p;
  const int channels[] = {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 100, 131};
  p.batch = 1 + (int)(random() % 3);
  p.regions = (int)(random() % 6);
  p.channels = channels[random() % 13];
  p.levels = 1 + (int)(random() % 4);
  p.output_size = 1 + (int)(random() % 7);
  p.sampling_ratio = (int)(random() % 4);
  p.aligned = random() % 2;
  p.canonical_scale = 56.0f;
  p.pooling = (int)(random() % 3);
  for (int i = 0; i < p.levels; ++i) {
    p.stride[i] = (float)(4 << i);
    p.height[i] = 1 + (int)(random() % (24 >> i));
    p.width[i] = 1 + (int)(random() % (24 >> i));
    const size_t cells = (size_t)p.batch * p.height[i] * p.width[i];
    c.maps.push_back(DrawValues<T>(cells * p.channels, random));
  }
  for (int i = 0; i < p.batch * p.regions * 4; ++i) c.boxes.push_back(AwkwardCoordinate(random));
  c.upstream = DrawValues<T>((size_t)c.Pooled(), random);
  return c;
}

// A huge adaptive region would keep the definition busy for minutes.
template <typename T>
bool IsQuickToDefine(const Case<T>& c) {
  for (int i = 0; i < c.p.batch * c.p.regions; ++i) {
    const roi::Region region = roi::Locate(c.p, &c.boxes[4 * i]);
    if (region.size[0] > 2000.0f || region.size[1] > 2000.0f) return false;
  }
  return true;
}

template <typename T>
void Compare(const char* what, const std::vector<T>& ours, const std::vector<double>& expected,
             double tolerance, const Case<T>& c, int instructions) {
  double scale = 1.0;
  for (double value : expected) scale = std::max(scale, std::fabs(value));
  for (size_t i = 0; i < ours.size(); ++i) {
    const double difference = std::fabs(ToFloat(ours[i]) - expected[i]);
    EXPECT(difference <= tolerance * scale,
           "%s[%zu] is %g, should be %g (pooling %d, sampling %d, %d channels, set %d)", what, i,
           ToFloat(ours[i]), expected[i], c.p.pooling, c.p.sampling_ratio, c.p.channels,
           instructions);
  }
}

template <typename T>
std::vector<std::vector<T>> Gradients(const Case<T>& c, int threads, roi::InstructionSet set) {
  std::vector<std::vector<T>> gradients = c.maps;
  std::vector<T*> pointers;
  for (std::vector<T>& map : gradients) pointers.push_back(map.data());
  roi::Backward(c.p, c.Maps().data(), c.boxes.data(), c.upstream.data(), pointers.data(),
                Threads(threads), set);
  return gradients;
}

// Each instruction set against the definition.
template <typename T>
void Check(const Case<T>& c, double tolerance) {
  const roi::Problem& p = c.p;
  std::vector<double> pooled((size_t)c.Pooled());
  std::vector<std::vector<double>> gradient;
  for (const std::vector<T>& map : c.maps) gradient.emplace_back(map.size());
  size_t bin = 0;
  for (int n = 0; n < p.batch * p.regions; ++n) {
    const roi::Region region = roi::Locate(p, &c.boxes[4 * n]);
    const int level = region.level, width = p.width[level];
    const size_t first = (size_t)(n / p.regions) * p.height[level] * width * p.channels;
    for (int k = 0; k < p.output_size * p.output_size; ++k) {
      const auto samples = Samples(p, region, k / p.output_size, k % p.output_size);
      for (int channel = 0; channel < p.channels; ++channel, ++bin) {
        pooled[bin] = DefineBin(p, samples, &c.maps[level][first], width, channel,
                                ToFloat(c.upstream[bin]), &gradient[level][first]);
      }
    }
  }
  for (int set = roi::kBaseline; set <= roi::BestInstructionSet(); ++set) {
    const auto instructions = (roi::InstructionSet)set;
    std::vector<T> ours(pooled.size());
    roi::Forward(p, c.Maps().data(), c.boxes.data(), ours.data(), Threads(2), instructions);
    Compare("pooled", ours, pooled, tolerance, c, set);
    const auto one = Gradients(c, 1, instructions), many = Gradients(c, 3, instructions);
    for (int i = 0; i < p.levels; ++i) {
      // Nearly equal samples may be told apart differently by the definition's doubles.
      if (p.pooling != roi::kAlignMax) {
        Compare("gradient", one[i], gradient[i], tolerance, c, set);
      }
      EXPECT(!std::memcmp(one[i].data(), many[i].data(), one[i].size() * sizeof(T)),
             "the gradient differs with the number of threads");
    }
  }
}

template <typename T>
void Fuzz(int rounds, unsigned seed, double tolerance) {
  Random random(seed);
  for (int round = 0; round < rounds; ++round) {
    const Case<T> c = DrawCase<T>(random);
    if (IsQuickToDefine(c)) {
      Check(c, tolerance);
      continue;
    }
    std::vector<T> pooled((size_t)c.Pooled());
    roi::Forward(c.p, c.Maps().data(), c.boxes.data(), pooled.data(), Threads(1));
    Gradients(c, 1, roi::BestInstructionSet());
  }
}

// Every half and every brain float through the loops of each instruction set.
template <typename T>
void CheckConversions() {
  std::vector<T> values(65536), back(65536);
  for (uint32_t bits = 0; bits < 65536; ++bits) values[bits] = {(uint16_t)bits};
  const roi::Tap one = {0, 1.0f};
  std::vector<float> wide(65536);
  const auto all = {roi::BaselineLoops<T>(), roi::Avx2Loops<T>(), roi::Avx512Loops<T>()};
  int set = 0;
  for (const roi::ChannelLoops<T>* loops : all) {
    if (set++ > roi::BestInstructionSet() || !loops) continue;
    loops->wide_weighted_sum(values.data(), &one, 1, 65536, wide.data());
    loops->narrow(wide.data(), 65536, back.data());
    for (uint32_t bits = 0; bits < 65536; ++bits) {
      const float expected = ToFloat(values[bits]);
      EXPECT(wide[bits] == expected || (std::isnan(wide[bits]) && std::isnan(expected)),
             "%#x is %g, should be %g", bits, wide[bits], expected);
      EXPECT(ToFloat(back[bits]) == expected || std::isnan(expected), "%#x does not come back",
             bits);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 200;
  const unsigned seed = argc > 2 ? (unsigned)std::atoi(argv[2]) : 0;
  CheckConversions<roi::Half>();
  CheckConversions<roi::BFloat16>();
  Fuzz<float>(rounds, seed, 2e-5);
  Fuzz<double>(rounds, seed + 1, 2e-5);
  Fuzz<roi::Half>(rounds, seed + 2, 2e-3);
  Fuzz<roi::BFloat16>(rounds, seed + 3, 1e-2);
  std::printf("%s: %d rounds, instruction set %d, %d failures\n", failures ? "FAILED" : "passed",
              4 * rounds, (int)roi::BestInstructionSet(), failures);
  return failures ? 1 : 0;
}
