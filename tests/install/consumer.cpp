#include <fakescore/fakescore.hpp>
#include <iostream>

#include "fakescore/module/module_source.hpp"

int main() {
  auto teacher = std::make_shared<torch::nn::LinearImpl>(4, 3);
  const auto communicators = fakescore::make_local_communicators(1);
  const auto result = fakescore::create_fake_score_meta(
      [] { return std::make_shared<torch::nn::LinearImpl>(4, 3); },
      fakescore::module_source(teacher), *communicators.front());
  const auto copy = std::dynamic_pointer_cast<torch::nn::LinearImpl>(result.module);
  const bool equal = torch::equal(copy->weight, teacher->weight);
  std::cout << "weights equal: " << std::boolalpha << equal << '\n';
  try {
    fakescore::TeacherSource::path("/nonexistent").open();
  } catch (const fakescore::TeacherError& error) {
    std::cout << "caught: " << error.what() << '\n';
    return equal ? 0 : 1;
  }
  return 1;
}
