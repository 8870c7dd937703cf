// The activations of the contract (tinychat/kernels/__init__.py), once for all kernels.
#pragma once

#include "cuda/common.cuh"
#include "cuda/ops.h"

namespace tinychat::cuda {

// x / (1 + e^-x); far below zero e^-x is infinite and the quotient 0.
__device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }

// x times the normal distribution function. 1 + erf would lose the digits of its lower end.
__device__ __forceinline__ float gelu(float x) {
  constexpr float kSqrtHalf = 0.70710678f;
  return 0.5f * x * erfcf(-x * kSqrtHalf);
}

// x (1 + tanh(u)) / 2 = x / (1 + e^-2u) with u = sqrt(2 / pi) (x + 0.044715 x^3).
__device__ __forceinline__ float gelu_tanh(float x) {
  constexpr float kTwiceSqrt2OverPi = 1.5957691f;
  return x / (1.0f + expf(-kTwiceSqrt2OverPi * (x + 0.044715f * x * x * x)));
}

// NaN stays NaN.
__device__ __forceinline__ float relu(float x) { return x < 0.0f ? 0.0f : x; }

__device__ __forceinline__ float activate(Activation kind, float x) {
  switch (kind) {
    case Activation::kSilu:
      return silu(x);
    case Activation::kGelu:
      return gelu(x);
    case Activation::kGeluTanh:
      return gelu_tanh(x);
    case Activation::kRelu:
      break;
  }
  return relu(x);
}

}  // namespace tinychat::cuda
