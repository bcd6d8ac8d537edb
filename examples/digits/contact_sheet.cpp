#include "contact_sheet.hpp"

#include <png.h>
#include <torch/torch.h>

#include <stdexcept>

namespace fakescore::digits {

torch::Tensor contact_sheet(const torch::Tensor& images, const ContactSheetOptions& options) {
  TORCH_CHECK_VALUE(images.dim() == 4 && images.size(1) == 1, "images must be (N, 1, H, W), are ",
                    images.sizes());
  const torch::Tensor grey = ((images.detach().cpu().to(torch::kFloat32) + 1.0) * 127.5)
                                 .clamp(0.0, 255.0)
                                 .round()
                                 .to(torch::kUInt8)
                                 .squeeze(1)
                                 .repeat_interleave(options.scale, 1)
                                 .repeat_interleave(options.scale, 2);
  const int64_t height = grey.size(1);
  const int64_t width = grey.size(2);
  const int64_t rows = (grey.size(0) + options.columns - 1) / options.columns;
  torch::Tensor sheet = torch::full({options.gap + rows * (height + options.gap),
                                     options.gap + options.columns * (width + options.gap)},
                                    255, torch::kUInt8);
  for (int64_t i = 0; i < grey.size(0); ++i) {
    const int64_t top = options.gap + (i / options.columns) * (height + options.gap);
    const int64_t left = options.gap + (i % options.columns) * (width + options.gap);
    sheet.slice(0, top, top + height).slice(1, left, left + width).copy_(grey[i]);
  }
  return sheet;
}

void write_contact_sheet(const std::filesystem::path& path, const torch::Tensor& images,
                         const ContactSheetOptions& options) {
  const torch::Tensor sheet = contact_sheet(images, options);
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.height = static_cast<png_uint_32>(sheet.size(0));
  png.width = static_cast<png_uint_32>(sheet.size(1));
  png.format = PNG_FORMAT_GRAY;
  // The picture appears whole or not at all.
  std::filesystem::path partial = path;
  partial += ".partial";
  if (png_image_write_to_file(&png, partial.c_str(), 0, sheet.const_data_ptr(), 0, nullptr) == 0) {
    throw std::runtime_error(path.string() + ": cannot be written: " + png.message);
  }
  std::filesystem::rename(partial, path);
}

}  // namespace fakescore::digits
