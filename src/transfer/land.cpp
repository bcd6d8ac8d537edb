#include "transfer/land.hpp"

#include <ATen/ops/from_blob.h>

#include <cstring>

#include "transfer/populate.hpp"

namespace fakescore::detail {
namespace {

constexpr size_t kPopulateAtLeast = size_t{64} << 10;  // below, a system call is not worth it

at::Tensor elements(std::byte* data, size_t bytes, at::ScalarType dtype) {
  return at::from_blob(data, {static_cast<int64_t>(bytes / c10::elementSize(dtype))},
                       at::dtype(dtype));
}

}  // namespace

std::byte* stored_bytes(const Transfer& transfer, const Piece& piece) {
  return static_cast<std::byte*>(transfer.destination.mutable_data_ptr()) + piece.stored_begin;
}

void populate_if_large(const Transfer& transfer, const Piece& piece) {
  if (piece.stored_bytes < kPopulateAtLeast) return;
  populate_pages(stored_bytes(transfer, piece), piece.stored_bytes);
}

void land(const Transfer& transfer, const Piece& piece, const std::byte* wire) {
  std::byte* const stored = stored_bytes(transfer, piece);
  const auto& cast = transfer.layout.cast;
  if (!cast) {
    std::memcpy(stored, wire, piece.stored_bytes);
    return;
  }
  elements(stored, piece.stored_bytes, cast->stored)
      .copy_(elements(const_cast<std::byte*>(wire), piece.wire_bytes, cast->wire));
}

}  // namespace fakescore::detail
