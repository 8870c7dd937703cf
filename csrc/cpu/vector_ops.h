// The rows of the Isa table that are written once over simd.h: every ISA file includes this and
// gets them at its own width.
#pragma once

#include "cpu/activation_rows.h"
#include "cpu/attention_rows.h"
#include "cpu/convert_rows.h"
#include "cpu/norm_rows.h"
#include "cpu/round_rows.h"
#include "cpu/sample_scan.h"

namespace tinychat {
namespace {

void use_vector_ops(Isa* isa) {
  isa->rms_norm_row = rms_norm_row;
  isa->layer_norm_row = layer_norm_row;
  isa->read_row = read_row;
  isa->write_row = write_row;
  isa->round_row = round_row;
  isa->rotate_row = rotate_row;
  isa->attend = attend;
  isa->activate = activate;
  isa->largest = largest;
  isa->exp_weights = exp_weights;
}

}  // namespace
}  // namespace tinychat
