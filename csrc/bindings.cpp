// The module tinychat.kernels._cpu: one def per op, addresses and sizes in, no arithmetic, the GIL
// released.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "arrays.h"
#include "cpu/ceilings.h"
#include "cpu/file.h"
#include "cpu/memory.h"
#include "cpu/plan.h"
#include "cpu/select.h"

namespace py = pybind11;
using namespace tinychat;
using namespace py::literals;

namespace {

std::string name_of(const char* op, const Packing& p) {
  return std::string(op) + " " + std::to_string(p.rows) + " x " + std::to_string(p.cols) + ", " +
         std::to_string(p.bits) + " bits";
}

OpLabel label_of(const MatmulArgs& args) {
  const Packing& p = args.packing;
  return {name_of("matmul", p), static_cast<double>(p.bytes()),
          2.0 * args.tokens * p.rows * p.cols};
}

OpLabel label_of(const RefineArgs& args) {
  const Packing& p = args.packing;
  const double tiles = static_cast<double>(args.tokens) * args.chosen();
  return {name_of("refine", p), tiles * static_cast<double>(p.tile_bytes()),
          2.0 * tiles * kTileRows * p.cols};
}

}  // namespace

PYBIND11_MODULE(_cpu, module) {
  const py::call_guard<py::gil_scoped_release> no_gil;

  py::register_exception_translator([](std::exception_ptr error) {
    try {
      std::rethrow_exception(error);
    } catch (const ClosedError& closed) {
      const py::object kernel_error = py::module_::import("tinychat.errors").attr("KernelError");
      PyErr_SetString(kernel_error.ptr(), closed.what());
    } catch (const LostFileError& lost) {
      const py::object error_type = py::module_::import("tinychat.errors").attr("CheckpointError");
      PyErr_SetString(error_type.ptr(), lost.what());
    }
  });

  module.def("isas", [] {
    std::vector<std::pair<std::string, std::string>> names_and_refusals;
    for (const Candidate& c : isa_candidates()) names_and_refusals.emplace_back(c.name, c.refusal);
    return names_and_refusals;
  });

  py::enum_<DType>(module, "DType")
      .value("float32", DType::kFloat32)
      .value("float16", DType::kFloat16)
      .value("bfloat16", DType::kBfloat16)
      .value("int8", DType::kInt8);
  py::enum_<Activation>(module, "Activation")
      .value("silu", Activation::kSilu)
      .value("gelu", Activation::kGelu)
      .value("gelu_tanh", Activation::kGeluTanh)
      .value("relu", Activation::kRelu);
  py::enum_<NormKind>(module, "NormKind")
      .value("rms", NormKind::kRms)
      .value("layer", NormKind::kLayer);

  py::class_<MappedFile, std::shared_ptr<MappedFile>>(module, "MappedFile", py::buffer_protocol())
      .def_buffer([](MappedFile& file) {
        return py::buffer_info(reinterpret_cast<std::uint8_t*>(file.data()),
                               static_cast<py::ssize_t>(file.size()), true);
      });

  py::class_<Plan, std::shared_ptr<Plan>>(module, "Plan").def("__len__", &Plan::size);

  py::class_<Context> context(module, "Context");
  context.def(py::init<const std::string&, int>(), "isa"_a, "threads"_a);
  context.def_property_readonly("isa", [](const Context& c) { return c.isa().name; });
  context.def_property_readonly("threads", &Context::threads);
  context.def("close", &Context::close, no_gil);
  context.def("begin_record", &Context::begin_record);
  context.def("end_record", &Context::end_record);
  context.def("run", &Context::run, "plan"_a, no_gil);
  context.def("begin_profile", &Context::begin_profile);
  context.def("end_profile", [](Context& c) {
    std::vector<std::tuple<std::string, std::int64_t, double, double, double>> entries;
    for (const Profile::Entry& e : c.end_profile()) {
      entries.emplace_back(e.label.name, e.calls, e.seconds, e.label.bytes, e.label.operations);
    }
    return entries;
  });

  // --- matmul ---
  context.def(
      "matmul",
      [](Context& c, Address x, NormKind norm, Address norm_weight, Address norm_bias, float eps,
         Address order, Address weight, Address bias, Address out, int tokens, int bits, int rows,
         int cols, int group, std::optional<Activation> gate, bool add) {
        const MatmulArgs args{at<const float>(x),
                              {norm, at<const float>(norm_weight), at<const float>(norm_bias), eps},
                              at<const std::int32_t>(order),
                              at<const std::uint8_t>(weight),
                              at<const float>(bias),
                              at<float>(out),
                              tokens,
                              {bits, rows, cols, group},
                              gate.has_value(),
                              gate.value_or(Activation::kSilu),
                              add};
        c.submit(label_of(args), matmul, args, matmul_scratch_bytes(c.isa(), args, c.threads()));
      },
      "x"_a, "norm"_a, "norm_weight"_a, "norm_bias"_a, "eps"_a, "order"_a, "weight"_a, "bias"_a,
      "out"_a, "tokens"_a, "bits"_a, "rows"_a, "cols"_a, "group"_a, "gate"_a, "add"_a, no_gil);

  // --- refine ---
  context.def(
      "refine",
      [](Context& c, Address logits, Address x, Address weight, int tokens, int tiles, int bits,
         int rows, int cols, int group) {
        const RefineArgs args{at<float>(logits),
                              at<const float>(x),
                              at<const std::uint8_t>(weight),
                              tokens,
                              tiles,
                              {bits, rows, cols, group}};
        c.submit(label_of(args), refine, args, refine_scratch_bytes(args, c.threads()));
      },
      "logits"_a, "x"_a, "weight"_a, "tokens"_a, "tiles"_a, "bits"_a, "rows"_a, "cols"_a, "group"_a,
      no_gil);

  // --- pack ---
  module.attr("TILE_ROWS") = kTileRows;
  module.def(
      "packed_bytes",
      [](int bits, int rows, int cols, int group) {
        return Packing{bits, rows, cols, group}.bytes();
      },
      "bits"_a, "rows"_a, "cols"_a, "group"_a);
  module.def(
      "prefer_large_pages",
      [](Address memory, std::size_t bytes) { prefer_large_pages(at<void>(memory), bytes); },
      "memory"_a, "bytes"_a);
  const auto packer = [](const char* name,
                         void (*op)(Team&, const Isa&, const PackArgs&) noexcept) {
    return [name, op](Context& c, Address codes, Address scales, Address zeros, int groups,
                      Address packed, int bits, int rows, int cols, int group) {
      c.submit({name}, op,
               PackArgs{at<std::uint8_t>(codes),
                        at<std::uint16_t>(scales),
                        at<std::uint8_t>(zeros),
                        groups,
                        at<std::uint8_t>(packed),
                        {bits, rows, cols, group}});
    };
  };
  context.def("pack", packer("pack", pack), "codes"_a, "scales"_a, "zeros"_a, "groups"_a,
              "packed"_a, "bits"_a, "rows"_a, "cols"_a, "group"_a, no_gil);
  context.def("unpack", packer("unpack", unpack), "codes"_a, "scales"_a, "zeros"_a, "groups"_a,
              "packed"_a, "bits"_a, "rows"_a, "cols"_a, "group"_a, no_gil);

  // --- map_file, read_file, checksum ---
  context.def("map_file", &Context::map_file, "file"_a, "bytes"_a);
  context.def(
      "read_file",
      [](Context& c, int file, std::int64_t offset, Address to, std::size_t bytes) {
        return read_file(c.pool(), file, offset, at<std::byte>(to), bytes);
      },
      "file"_a, "offset"_a, "to"_a, "bytes"_a, no_gil);
  context.def(
      "checksum",
      [](Context& c, Address data, std::size_t bytes) {
        const std::uint64_t sum = checksum(c.pool(), at<const std::byte>(data), bytes);
        c.check_files();
        return sum;
      },
      "data"_a, "bytes"_a, no_gil);

  // --- round_to_nearest ---
  context.def(
      "round_to_nearest",
      [](Context& c, Address weights, DType dtype, Address codes, Address scales, Address zeros,
         int rows, int cols, int bits, int group, bool symmetric) {
        c.submit({"round_to_nearest"}, round_to_nearest,
                 RoundToNearestArgs{at<const std::byte>(weights),
                                    dtype,
                                    at<std::uint8_t>(codes),
                                    at<std::uint16_t>(scales),
                                    at<std::uint8_t>(zeros),
                                    rows,
                                    cols,
                                    {bits, group, symmetric}});
      },
      "weights"_a, "dtype"_a, "codes"_a, "scales"_a, "zeros"_a, "rows"_a, "cols"_a, "bits"_a,
      "group"_a, "symmetric"_a, no_gil);

  // --- unpack_rows ---
  context.def(
      "unpack_rows",
      [](Context& c, Address words, std::ptrdiff_t row_stride, std::ptrdiff_t word_stride,
         Address order, Address codes, int rows, int words_per_row, int bits) {
        const UnpackRowsArgs args{at<const std::uint32_t>(words),
                                  row_stride,
                                  word_stride,
                                  at<const std::int32_t>(order),
                                  at<std::uint8_t>(codes),
                                  rows,
                                  words_per_row,
                                  bits};
        c.submit({"unpack_rows"}, unpack_rows, args, unpack_rows_scratch_bytes(args, c.threads()));
      },
      "words"_a, "row_stride"_a, "word_stride"_a, "order"_a, "codes"_a, "rows"_a, "words_per_row"_a,
      "bits"_a, no_gil);

  // --- unpack_awq ---
  context.def(
      "unpack_awq",
      [](Context& c, Address words, Address codes, int inputs, int words_per_input) {
        c.submit({"unpack_awq"}, unpack_awq,
                 UnpackAwqArgs{at<const std::uint32_t>(words), at<std::uint8_t>(codes), inputs,
                               words_per_input});
      },
      "words"_a, "codes"_a, "inputs"_a, "words_per_input"_a, no_gil);

  // --- read_bandwidth, int8_rate ---
  context.def(
      "read_bandwidth",
      [](Context& c, std::size_t bytes, int repeats) {
        return read_bandwidth(c.pool(), c.isa(), bytes, repeats);
      },
      "bytes"_a, "repeats"_a, no_gil);
  context.def(
      "int8_rate", [](Context& c, int repeats) { return int8_rate(c.pool(), c.isa(), repeats); },
      "repeats"_a, no_gil);

  // --- norm ---
  context.def(
      "norm",
      [](Context& c, Address x, NormKind norm_kind, Address weight, Address bias, float eps,
         Address out, int rows, int cols) {
        const Norm how{norm_kind, at<const float>(weight), at<const float>(bias), eps};
        c.submit({"norm"}, norm, NormArgs{at<const float>(x), how, at<float>(out), rows, cols});
      },
      "x"_a, "kind"_a, "weight"_a, "bias"_a, "eps"_a, "out"_a, "rows"_a, "cols"_a, no_gil);

  // --- embedding ---
  context.def(
      "embedding",
      [](Context& c, Address ids, Address table, DType dtype, Address out, int rows, int cols) {
        c.submit({"embedding"}, embedding,
                 EmbeddingArgs{at<const std::int32_t>(ids), at<const std::byte>(table), dtype,
                               at<float>(out), rows, cols});
      },
      "ids"_a, "table"_a, "dtype"_a, "out"_a, "rows"_a, "cols"_a, no_gil);

  // --- attention ---
  context.def(
      "attention",
      [](Context& c, Address qkv, Address keys, Address values, DType dtype, Address start,
         Address cos, Address sin, Address alibi, Address q_norm, Address k_norm, float norm_eps,
         Address out, int tokens, int heads, int kv_heads, int head_dim, int capacity,
         int rotary_half, int window, float scale) {
        const AttentionArgs args{at<const float>(qkv),
                                 at<std::byte>(keys),
                                 at<std::byte>(values),
                                 dtype,
                                 at<const std::int32_t>(start),
                                 at<const float>(cos),
                                 at<const float>(sin),
                                 at<const float>(alibi),
                                 {at<const float>(q_norm), at<const float>(k_norm), norm_eps},
                                 at<float>(out),
                                 tokens,
                                 heads,
                                 kv_heads,
                                 head_dim,
                                 capacity,
                                 rotary_half,
                                 window,
                                 scale};
        c.submit({"attention"}, attention, args, attention_scratch_bytes(args, c.threads()));
      },
      "qkv"_a, "keys"_a, "values"_a, "dtype"_a, "start"_a, "cos"_a, "sin"_a, "alibi"_a, "q_norm"_a,
      "k_norm"_a, "norm_eps"_a, "out"_a, "tokens"_a, "heads"_a, "kv_heads"_a, "head_dim"_a,
      "capacity"_a, "rotary_half"_a, "window"_a, "scale"_a, no_gil);

  // --- activation ---
  context.def(
      "activation",
      [](Context& c, Address x, Address scale, Address out, int rows, int cols, Activation kind) {
        c.submit({"activation"}, activation,
                 ActivationArgs{at<const float>(x), at<const float>(scale), at<float>(out), rows,
                                cols, kind});
      },
      "x"_a, "scale"_a, "out"_a, "rows"_a, "cols"_a, "kind"_a, no_gil);
  context.def(
      "gated_activation",
      [](Context& c, Address x, Address out, int rows, int cols, Activation kind) {
        c.submit({"gated_activation"}, gated_activation,
                 ActivationArgs{at<const float>(x), nullptr, at<float>(out), rows, cols, kind});
      },
      "x"_a, "out"_a, "rows"_a, "cols"_a, "kind"_a, no_gil);

  // --- sample ---
  context.def(
      "sample",
      [](const Context& c, Address logits, int vocabulary, Address recent, int recent_count,
         double temperature, int top_k, double top_p, double min_p, float penalty, double uniform) {
        return sample(
            c.isa(), SampleArgs{at<const float>(logits), at<const std::int32_t>(recent), vocabulary,
                                recent_count, top_k, penalty, temperature, top_p, min_p, uniform});
      },
      "logits"_a, "vocabulary"_a, "recent"_a, "recent_count"_a, "temperature"_a, "top_k"_a,
      "top_p"_a, "min_p"_a, "penalty"_a, "uniform"_a, no_gil);
}
