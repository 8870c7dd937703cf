// One def per CUDA op: addresses and sizes in, no arithmetic, the GIL released.
#include "cuda/bindings.h"

#include <stdexcept>
#include <utility>

#include "arrays.h"
#include "cuda/ops.h"

namespace py = pybind11;
using namespace py::literals;

namespace tinychat::cuda {
namespace {

struct LaunchError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace

void check(const Status& status) {
  if (!status.error.empty()) throw LaunchError(status.error);
}

py::class_<Queue> register_ops(py::module_& module) {
  const py::call_guard<py::gil_scoped_release> no_gil;

  py::register_local_exception_translator([](std::exception_ptr error) {
    try {
      std::rethrow_exception(error);
    } catch (const LaunchError& failed) {
      const py::object kernel_error = py::module_::import("tinychat.errors").attr("KernelError");
      PyErr_SetString(kernel_error.ptr(), failed.what());
    }
  });

  py::enum_<DType>(module, "DType", py::module_local())
      .value("float32", DType::kFloat32)
      .value("float16", DType::kFloat16)
      .value("bfloat16", DType::kBfloat16)
      .value("int8", DType::kInt8);

  py::enum_<NormKind>(module, "NormKind", py::module_local())
      .value("rms", NormKind::kRms)
      .value("layer", NormKind::kLayer);

  py::enum_<Activation>(module, "Activation", py::module_local())
      .value("silu", Activation::kSilu)
      .value("gelu", Activation::kGelu)
      .value("gelu_tanh", Activation::kGeluTanh)
      .value("relu", Activation::kRelu);

  py::class_<Tc16>(module, "Tc16", py::module_local())
      .def(py::init<int, int, int, int>(), "bits"_a, "rows"_a, "cols"_a, "group"_a)
      .def("bytes", &Tc16::bytes)
      .def("scale", &Tc16::scale, "row"_a, "col"_a)
      .def(
          "code",
          [](const Tc16& layout, int row, int col) {
            const CodePlace place = layout.code(row, col);
            return std::make_pair(place.byte, place.shift);
          },
          "row"_a, "col"_a);

  py::class_<Queue> queue(module, "Queue", py::module_local());
  queue.def_readonly("arch", &Queue::arch);
  queue.def_readonly("programmatic", &Queue::programmatic);

  // --- norm ---
  queue.def(
      "norm",
      [](const Queue& q, Address x, NormKind kind, Address weight, Address bias, float eps,
         Address out, int rows, int cols) {
        const Norm how{kind, at<const float>(weight), at<const float>(bias), eps};
        check(norm(q, {at<const float>(x), how, at<float>(out), rows, cols}));
      },
      "x"_a, "kind"_a, "weight"_a, "bias"_a, "eps"_a, "out"_a, "rows"_a, "cols"_a, no_gil);

  // --- embedding ---
  queue.def(
      "embedding",
      [](const Queue& q, Address ids, Address table, DType dtype, Address out, int rows, int cols,
         int vocabulary) {
        check(embedding(q, {at<const std::int32_t>(ids), at<const void>(table), dtype,
                            at<float>(out), rows, cols, vocabulary}));
      },
      "ids"_a, "table"_a, "dtype"_a, "out"_a, "rows"_a, "cols"_a, "vocabulary"_a, no_gil);

  // --- activation ---
  queue.def(
      "activation",
      [](const Queue& q, Address x, Address scale, Address out, int rows, int cols,
         Activation kind) {
        check(activation(
            q, {at<const float>(x), at<const float>(scale), at<float>(out), rows, cols, kind}));
      },
      "x"_a, "scale"_a, "out"_a, "rows"_a, "cols"_a, "kind"_a, no_gil);
  queue.def(
      "gated_activation",
      [](const Queue& q, Address x, Address out, int rows, int cols, Activation kind) {
        check(gated_activation(q, {at<const float>(x), nullptr, at<float>(out), rows, cols, kind}));
      },
      "x"_a, "out"_a, "rows"_a, "cols"_a, "kind"_a, no_gil);

  // --- attention ---
  py::class_<NewTokens>(module, "NewTokens", py::module_local())
      .def(py::init([](Address qkv, Address start, Address q_norm, Address k_norm, float eps,
                       int tokens, int heads, int kv_heads, int head_dim) {
             return NewTokens{at<const float>(qkv),
                              at<const std::int32_t>(start),
                              {at<const float>(q_norm), at<const float>(k_norm), eps},
                              tokens,
                              heads,
                              kv_heads,
                              head_dim};
           }),
           "qkv"_a, "start"_a, "q_norm"_a, "k_norm"_a, "norm_eps"_a, "tokens"_a, "heads"_a,
           "kv_heads"_a, "head_dim"_a);
  py::class_<Rotation>(module, "Rotation", py::module_local())
      .def(py::init([](Address cos, Address sin, int half) {
             return Rotation{at<const float>(cos), at<const float>(sin), half};
           }),
           "cos"_a, "sin"_a, "half"_a);
  py::class_<Cache>(module, "Cache", py::module_local())
      .def(py::init([](Address keys, Address values, DType dtype, int capacity) {
             return Cache{at<void>(keys), at<void>(values), dtype, capacity};
           }),
           "keys"_a, "values"_a, "dtype"_a, "capacity"_a);
  queue.def(
      "attn_decode",
      [](const Queue& q, const NewTokens& tokens, const Rotation& rotation, const Cache& cache,
         Address alibi, float scale, int window, int splits, Address gathered, Address arrived,
         Address out) {
        check(attn_decode(q, {tokens, rotation, cache, at<const float>(alibi), scale, window,
                              splits, at<float>(gathered), at<unsigned>(arrived), at<float>(out)}));
      },
      "tokens"_a, "rotation"_a, "cache"_a, "alibi"_a, "scale"_a, "window"_a, "splits"_a,
      "gathered"_a, "arrived"_a, "out"_a, no_gil);
  queue.def(
      "rope_append",
      [](const Queue& q, const NewTokens& tokens, const Rotation& rotation, const Cache& cache,
         Address turned) { check(rope_append(q, {tokens, rotation, cache, at<void>(turned)})); },
      "tokens"_a, "rotation"_a, "cache"_a, "q"_a, no_gil);

  // --- gemv ---
  queue.def(
      "gemv",
      [](const Queue& q, Address x, NormKind norm, Address norm_weight, Address norm_bias,
         float eps, Address order, Address weight, const Tc16& layout, Address bias, Address out,
         int tokens, bool gated, Activation gate, bool add) {
        const Norm how{norm, at<const float>(norm_weight), at<const float>(norm_bias), eps};
        const Ending ending{at<const float>(bias), at<float>(out), gated, gate, add};
        check(gemv(q, {at<const float>(x), how, at<const std::int32_t>(order),
                       at<const std::uint8_t>(weight), layout, tokens, ending}));
      },
      "x"_a, "norm"_a, "norm_weight"_a, "norm_bias"_a, "eps"_a, "order"_a, "weight"_a, "layout"_a,
      "bias"_a, "out"_a, "tokens"_a, "gated"_a, "gate"_a, "add"_a, no_gil);

  // --- gemm ---
  queue.def(
      "dequantize",
      [](const Queue& q, Address weight, const Tc16& layout, int first_row, int rows, Address out,
         int out_cols) {
        check(dequantize(
            q, {at<const std::uint8_t>(weight), layout, first_row, rows, at<void>(out), out_cols}));
      },
      "weight"_a, "layout"_a, "first_row"_a, "rows"_a, "out"_a, "out_cols"_a, no_gil);
  queue.def(
      "halves",
      [](const Queue& q, Address x, NormKind norm, Address norm_weight, Address norm_bias,
         float eps, Address order, Address out, Address factors, int tokens, int cols, int out_cols,
         int exponent) {
        const Norm how{norm, at<const float>(norm_weight), at<const float>(norm_bias), eps};
        check(halves(q, {at<const float>(x), how, at<const std::int32_t>(order), at<void>(out),
                         at<float>(factors), tokens, cols, out_cols, exponent}));
      },
      "x"_a, "norm"_a, "norm_weight"_a, "norm_bias"_a, "eps"_a, "order"_a, "out"_a, "factors"_a,
      "tokens"_a, "cols"_a, "out_cols"_a, "exponent"_a, no_gil);
  queue.def(
      "gemm",
      [](const Queue& q, Address x16, Address factors, Address weight, const Tc16& layout,
         Address bias, Address out, int tokens, bool gated, Activation gate, bool add) {
        const Ending ending{at<const float>(bias), at<float>(out), gated, gate, add};
        check(gemm(q, {at<const void>(x16), at<const float>(factors),
                       at<const std::uint8_t>(weight), layout, tokens, ending}));
      },
      "x16"_a, "factors"_a, "weight"_a, "layout"_a, "bias"_a, "out"_a, "tokens"_a, "gated"_a,
      "gate"_a, "add"_a, no_gil);

  // --- refine ---
  queue.def(
      "refine",
      [](const Queue& q, Address logits, Address x, Address weight, const Tc16& layout, int tokens,
         int tiles, Address keys, Address chosen, Address arrived) {
        check(refine(q,
                     {at<float>(logits), at<const float>(x), at<const std::uint8_t>(weight), layout,
                      tokens, tiles, at<unsigned>(keys), at<int>(chosen), at<unsigned>(arrived)}));
      },
      "logits"_a, "x"_a, "weight"_a, "layout"_a, "tokens"_a, "tiles"_a, "keys"_a, "chosen"_a,
      "arrived"_a, no_gil);

  // --- sample ---
  py::class_<Draws>(module, "Draws", py::module_local())
      .def(py::init([](Address uniforms, int uniform_count, Address drawn, Address ring,
                       int ring_count) {
             return Draws{at<const double>(uniforms), uniform_count, at<std::int32_t>(drawn),
                          at<std::int32_t>(ring), ring_count};
           }),
           "uniforms"_a, "uniform_count"_a, "drawn"_a, "ring"_a, "ring_count"_a);
  module.def("sample_workspace", &sample_workspace, "vocabulary"_a);
  queue.def(
      "sample",
      [](const Queue& q, Address logits, int vocabulary, Address rule, const Draws& draws,
         Address seen, Address token, Address position, Address workspace) {
        check(sample(q, {at<const float>(logits), vocabulary, at<const SampleRule>(rule), draws,
                         at<std::uint8_t>(seen), at<std::int32_t>(token),
                         at<std::int32_t>(position), at<void>(workspace)}));
      },
      "logits"_a, "vocabulary"_a, "rule"_a, "draws"_a, "seen"_a, "token"_a, "position"_a,
      "workspace"_a, no_gil);

  return queue;
}

}  // namespace tinychat::cuda
