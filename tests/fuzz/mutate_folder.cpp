
#include "fuzz/folder_input.hpp"
#include "fuzz/fuzz_target.hpp"

namespace fakescore::fuzz {

std::string mutate_file(const std::string& file, Random& random, size_t max) {
  if (file.starts_with("PK\x03\x04")) return mutate_archive(file, random, max);
  if (file.starts_with("\x80")) return mutate_pickle(file, random, max);
  if (file.size() > 8 && file[8] == '{') return mutate_safetensors(file, random, max);
  return mutate_bytes(file, max);
}

std::string mutate_folder(const std::string& folder, Random& random, size_t max) {
  FolderFiles files = parse_folder_input(folder);
  if (files.empty() || random() % 32 == 0) return mutate_bytes(folder, max);
  // What describes the tensors comes first, and is changed most often.
  auto& [name, content] = files[random() % 2 == 0 ? 0 : random() % files.size()];
  if (random() % 32 == 0) {
    name = mutate_bytes(name, 64);
  } else {
    content = mutate_file(content, random, max / 2);
  }
  std::string changed = make_folder_input(files);
  return changed.size() <= max ? changed : mutate_bytes(folder, max);
}

}  // namespace fakescore::fuzz
