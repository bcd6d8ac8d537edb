#pragma once

#include <torch/types.h>

#include <filesystem>

namespace fakescore::digits {

struct ContactSheetOptions {
  int64_t columns = 10;
  int64_t scale = 6;  ///< pixels for each pixel of an image
  int64_t gap = 4;    ///< white pixels between images and around them
};

/// (height, width) uint8: `images` (N, 1, H, W) in [-1, 1], row by row, light on dark.
torch::Tensor contact_sheet(const torch::Tensor& images, const ContactSheetOptions& options = {});

/// Writes a contact sheet as a grey PNG. Throws std::runtime_error naming the file.
void write_contact_sheet(const std::filesystem::path& path, const torch::Tensor& images,
                         const ContactSheetOptions& options = {});

}  // namespace fakescore::digits
