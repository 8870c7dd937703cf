// Choosing one token on the calling thread: a 128k vocabulary takes well under a millisecond, less
// than waking the others would save.
//
// Nothing is sorted but what the draw touches. top_k keeps a heap while whole blocks of logits
// below its smallest are skipped. Then weights are summed into buckets of similar size, largest
// first, so that the token at which a cumulative sum is reached lies in one bucket, and only that
// one is sorted.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cpu/ops.h"

namespace tinychat {
namespace {

constexpr int kBlock = 64;
constexpr int kBuckets = 1024;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Candidate {
  float logit;
  int id;
  double weight;
};

bool ranks_before(const Candidate& a, const Candidate& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

// Memory that one thread's calls share; it only grows.
struct Memory {
  std::vector<float> penalized;
  std::vector<float> logits;
  std::vector<int> ids;
  std::vector<double> weights;
  std::vector<Candidate> candidates;
};

// Calls f(begin, n, largest) for blocks of the logits in turn.
template <class F>
void for_blocks(const Isa& isa, const float* logits, int vocabulary, F f) {
  for (int begin = 0; begin < vocabulary; begin += kBlock) {
    const int n = std::min(kBlock, vocabulary - begin);
    f(begin, n, isa.largest(logits + begin, n));
  }
}

// The logits with the penalty of `recent`, or null if an id lies outside the vocabulary.
const float* penalize(const SampleArgs& args, std::vector<float>* penalized) {
  penalized->assign(args.logits, args.logits + args.vocabulary);
  for (int i = 0; i < args.recent_count; ++i) {
    const int id = args.recent[i];
    if (id < 0 || id >= args.vocabulary) return nullptr;
    const float logit = args.logits[id];  // not the copy's: an id counts once
    (*penalized)[id] = logit > 0.0f ? logit / args.penalty : logit * args.penalty;
  }
  return penalized->data();
}

// The first id of the largest logit; 0 if all are minus infinity or NaN.
Candidate largest_of(const Isa& isa, const float* logits, int vocabulary) {
  int at = 0;
  float largest = -kInfinity;
  for_blocks(isa, logits, vocabulary, [&](int begin, int, float top) {
    if (top > largest) {
      largest = top;
      at = begin;
    }
  });
  if (largest == -kInfinity) return {largest, 0, 0.0};
  while (logits[at] != largest) ++at;
  return {largest, at, 1.0};
}

// The top_k first in rank, in no order; logits of minus infinity are not worth a place.
void keep_first(const Isa& isa, const float* logits, const SampleArgs& args,
                std::vector<Candidate>* heap) {
  heap->clear();
  const std::size_t size = args.top_k;
  for_blocks(isa, logits, args.vocabulary, [&](int begin, int n, float top) {
    const auto bar = [&] { return heap->size() < size ? -kInfinity : heap->front().logit; };
    if (!(top > bar())) return;
    for (int id = begin; id < begin + n; ++id) {
      // An equal logit that comes later ranks behind.
      if (!(logits[id] > bar())) continue;
      if (heap->size() == size) {
        std::pop_heap(heap->begin(), heap->end(), ranks_before);
        heap->pop_back();
      }
      heap->push_back({logits[id], id, 0.0});
      std::push_heap(heap->begin(), heap->end(), ranks_before);
    }
  });
}

// Tokens in descending order of weight, without sorting them all.
class Ranking {
 public:
  // logits, weights: [n]; ids: [n], or null where token i has id i. weights do not grow from one
  // rank to the next.
  Ranking(const float* logits, const int* ids, const double* weights, int n,
          std::vector<Candidate>* bucket)
      : logits_(logits), ids_(ids), weights_(weights), n_(n), bucket_(bucket) {
    for (int i = 0; i < n; ++i) sums_[bucket_of(weights[i])] += weights[i];
    for (int b = 0; b < kBuckets; ++b) {
      total_ += sums_[b];
      if (sums_[b] > 0.0) last_ = b;
    }
  }

  double total() const { return total_; }

  struct Place {
    int id;
    double sum;  // of all weights up to and with this token
  };

  // The first token at which the sum exceeds `mass`; the last of any weight if rounding leaves
  // none.
  Place first_beyond(double mass) const {
    double sum = 0.0;
    int b = 0;
    while (b < last_ && !(sum + sums_[b] > mass)) sum += sums_[b++];
    bucket_->clear();
    for (int i = 0; i < n_; ++i) {
      if (weights_[i] > 0.0 && bucket_of(weights_[i]) == b) {
        bucket_->push_back({logits_[i], ids_ == nullptr ? i : ids_[i], weights_[i]});
      }
    }
    std::sort(bucket_->begin(), bucket_->end(), ranks_before);
    Place place{};
    for (const Candidate& candidate : *bucket_) {
      sum += candidate.weight;
      place = {candidate.id, sum};
      if (sum > mass) break;
    }
    return place;
  }

 private:
  // 16 buckets for each halving of the weight, counted from 1 down: the top bits of a double are
  // its exponent and the begin of its mantissa.
  static int bucket_of(double weight) {
    std::uint64_t one, bits;
    constexpr double kOne = 1.0;
    std::memcpy(&one, &kOne, sizeof(one));
    std::memcpy(&bits, &weight, sizeof(bits));
    return static_cast<int>(std::min<std::uint64_t>((one - bits) >> 48, kBuckets - 1));
  }

  const float* logits_;
  const int* ids_;
  const double* weights_;
  int n_;
  std::vector<Candidate>* bucket_;
  double sums_[kBuckets] = {};
  double total_ = 0.0;
  int last_ = 0;  // bucket with any weight
};

}  // namespace

int sample(const Isa& isa, const SampleArgs& args) {
  thread_local Memory memory;
  const float* logits = args.logits;
  if (args.penalty != 1.0f && args.recent_count > 0) {
    logits = penalize(args, &memory.penalized);
    if (logits == nullptr) return kUnknownRecentId;
  }
  const Candidate best = largest_of(isa, logits, args.vocabulary);
  if (args.temperature == 0.0 || best.logit == -kInfinity) return best.id;

  int n = args.vocabulary;
  const int* ids = nullptr;
  if (args.top_k > 0 && args.top_k < n) {
    keep_first(isa, logits, args, &memory.candidates);
    memory.logits.clear();
    memory.ids.clear();
    for (const Candidate& candidate : memory.candidates) {
      memory.logits.push_back(candidate.logit);
      memory.ids.push_back(candidate.id);
    }
    n = static_cast<int>(memory.ids.size());
    logits = memory.logits.data();
    ids = memory.ids.data();
  }
  memory.weights.resize(n);
  double* weights = memory.weights.data();
  isa.exp_weights(logits, best.logit, args.temperature, weights, n);

  Ranking ranking(logits, ids, weights, n, &memory.candidates);
  double kept = ranking.total();
  if (args.top_p < 1.0) {
    // The token that reaches top_p is kept: reaching is exceeding the next smaller number.
    kept = ranking.first_beyond(std::nextafter(args.top_p * ranking.total(), 0.0)).sum;
  }
  if (args.min_p > 0.0) {
    for (int i = 0; i < n; ++i) {
      if (weights[i] < args.min_p) weights[i] = 0.0;
    }
    ranking = Ranking(logits, ids, weights, n, &memory.candidates);
  }
  kept = std::min(kept, ranking.total());
  // Not even rounding may draw a token beyond the kept ones.
  return ranking.first_beyond(std::min(args.uniform * kept, std::nextafter(kept, 0.0))).id;
}

}  // namespace tinychat
