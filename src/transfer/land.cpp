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

void put(std::byte* stored, size_t bytes, const std::byte* wire, const std::optional<Cast>& cast) {
  if (!cast) {
    std::memcpy(stored, wire, bytes);
    return;
  }
  elements(stored, bytes, cast->stored)
      .copy_(elements(const_cast<std::byte*>(wire), wire_size(bytes, cast), cast->wire));
}

}  // namespace

std::byte* stored_bytes(const Transfer& transfer, const Piece& piece) {
  return static_cast<std::byte*>(transfer.destination.mutable_data_ptr()) + piece.stored_begin;
}

void populate_if_large(const Transfer& transfer, const Piece& piece) {
  if (piece.stored_bytes < kPopulateAtLeast || transfer.cut) return;
  populate_pages(stored_bytes(transfer, piece), piece.stored_bytes);
}

void land(const Transfer& transfer, const Piece& piece, const std::byte* wire) {
  const auto& cast = transfer.layout.cast;
  if (!transfer.cut) {
    put(stored_bytes(transfer, piece), piece.stored_bytes, wire, cast);
    return;
  }
  auto* const destination = static_cast<std::byte*>(transfer.destination.mutable_data_ptr());
  const ByteRange stretch{piece.stored_begin, piece.stored_begin + piece.stored_bytes};
  for_each_run(*transfer.cut, stretch, [&](const Run& run) {
    put(destination + run.in_destination, run.bytes,
        wire + wire_size(run.in_whole - stretch.begin, cast), cast);
  });
}

}  // namespace fakescore::detail
