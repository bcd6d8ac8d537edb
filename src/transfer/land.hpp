#pragma once

#include <cstddef>

#include "transfer/transfer.hpp"

namespace fakescore::detail {

/// Where a piece is stored in host memory.
std::byte* stored_bytes(const Transfer& transfer, const Piece& piece);

/// Populates the pages of a piece that is about to be written, where that is worth a system call.
void populate_if_large(const Transfer& transfer, const Piece& piece);

/// Puts a piece's wire bytes, in host memory, into its storage: copied, or cast.
void land(const Transfer& transfer, const Piece& piece, const std::byte* wire);

}  // namespace fakescore::detail
