#pragma once

#include <string>
#include <utility>

#include "fakescore/fill/fill_report.hpp"
#include "fill/fill_plan.hpp"

namespace fakescore::detail {

/// The root's plan as bytes and back, for the other ranks.
std::string encode_plan(const FillPlan& plan, const KeyReport& keys);
std::pair<FillPlan, KeyReport> decode_plan(const std::string& bytes);

}  // namespace fakescore::detail
