// The fake score of a teacher in one process: a deep copy of a live module, and the same call as on
// many ranks with the weights in a file.

#include <fakescore/fakescore.hpp>
#include <iostream>

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: single_process MODEL_FOLDER\n";
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  try {
    const auto communicators = fakescore::make_local_communicators(1);
    fakescore::MetaOptions options;
    options.verify = true;
    const auto teacher = fakescore::create_fake_score_meta(
        [&] { return fakescore::build_teacher_from_config(folder / "config.json"); },
        fakescore::TeacherSource::path(folder), *communicators.front(), options);
    std::cout << "from the file: " << teacher.module->parameters().size() << " parameters, digest "
              << to_string(*teacher.report.digest) << '\n';

    const auto fake_score = fakescore::create_fake_score(
        teacher.module,
        {.build = [&] { return fakescore::build_teacher_from_config(folder / "config.json"); }});
    const auto parameters = fake_score->named_parameters();
    bool equal = true;
    for (const auto& parameter : teacher.module->named_parameters()) {
      equal = equal && torch::equal(parameter.value(), parameters[parameter.key()]);
    }
    std::cout << "deep copy: equal " << std::boolalpha << equal << ", training "
              << fake_score->is_training() << '\n';
    return equal ? 0 : 1;
  } catch (const fakescore::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
