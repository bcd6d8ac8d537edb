// A teacher under other names: prefixes, rules and callbacks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "fakescore/error.hpp"
#include "fakescore/teacher/save_safetensors.hpp"
#include "fakescore/teacher/teacher_source.hpp"
#include "support/error_of.hpp"
#include "support/temp_folder.hpp"

namespace fakescore {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using ::testing::Pair;
using testing::TempFolder;

/// A teacher in memory; tensor number i holds i.
TeacherSource teacher_of(const std::vector<std::string>& names) {
  std::vector<NamedTensor> tensors;
  for (const std::string& name : names) {
    tensors.push_back({name, torch::tensor(static_cast<double>(tensors.size()))});
  }
  return TeacherSource::state_dict(std::move(tensors));
}

std::vector<std::string> names_of(const TeacherSource& source) {
  std::vector<std::string> names;
  const auto teacher = source.open();
  for (const TeacherTensor& tensor : teacher->tensors()) names.push_back(tensor.name);
  return names;
}

std::string teacher_error(const TeacherSource& source) {
  return error_of<TeacherError>([&] { source.open(); });
}

std::string rule_error(const std::string& rule) {
  return error_of<ConfigError>([&] { teacher_of({}).rename_keys({rule}); });
}

TEST(StripPrefix, TakesItFromTheNamesThatHaveIt) {
  const auto source = teacher_of({"model.a.weight", "step", "model.b"}).strip_prefix("model.");
  const auto teacher = source.open();
  EXPECT_THAT(names_of(source), ElementsAre("a.weight", "step", "b"));
  EXPECT_EQ(teacher->tensors()[0].stored_name, "model.a.weight");
  EXPECT_EQ(teacher->tensors()[1].stored_name, "");
  EXPECT_EQ(teacher->read(2).item<double>(), 2);
  EXPECT_EQ(source.description(), teacher_of({}).description());
}

TEST(StripPrefix, SaysWhichPrefixesThereAre) {
  const auto source = teacher_of({"net.model.a.weight", "net.model.b.weight", "net.model.scale"});
  EXPECT_THAT(teacher_error(source.strip_prefix("module.")),
              AllOf(HasSubstr("\"module.\""), HasSubstr("\"net.model.a.\", \"net.model.b.\""),
                    HasSubstr("\"net.model.scale\"")));
  EXPECT_THAT(teacher_error(source.strip_prefix("net")),
              AllOf(HasSubstr("begin with a dot"), HasSubstr("\"net.\"")));
  EXPECT_THAT(teacher_error(teacher_of({}).strip_prefix("a.")), HasSubstr("no tensors"));
  std::vector<std::string> many;
  for (char c = 'a'; c <= 'z'; ++c) many.push_back(std::string(1, c) + ".weight");
  EXPECT_THAT(teacher_error(teacher_of(many).strip_prefix("model.")), HasSubstr("and 16 more"));
  EXPECT_THAT(error_of<ConfigError>([&] { source.strip_prefix(""); }), HasSubstr("prefix"));
}

TEST(StripPrefix, ANameMustBeLeft) {
  EXPECT_THAT(teacher_error(teacher_of({"model.", "model.a"}).strip_prefix("model.")),
              AllOf(HasSubstr("tensor \"model.\""), HasSubstr("empty name")));
  EXPECT_THAT(teacher_error(teacher_of({"a", "model.a"}).strip_prefix("model.")),
              AllOf(HasSubstr("tensor \"model.a\""), HasSubstr("as \"a\" does"),
                    HasSubstr("stripping the prefix")));
}

TEST(RenameKeys, ReplacesEveryMatchRuleByRule) {
  const auto source = teacher_of({"double_blocks.0.img.qkv", "double_blocks.11.img.img"});
  EXPECT_THAT(names_of(source.rename_keys({R"(^double_blocks\.(\d+)\.=blocks.$1.)", "img=image",
                                           R"(blocks\.(\d)\.=b$1.)"})),
              ElementsAre("b0.image.qkv", "blocks.11.image.image"));
  EXPECT_THAT(names_of(source.rename_keys({})),
              ElementsAre(names_of(source)[0], names_of(source)[1]));
  EXPECT_THAT(names_of(teacher_of({"a=b", "c"}).rename_keys({R"(a\=b=x=$$y)"})),
              ElementsAre("x=$y", "c"));
  EXPECT_THAT(names_of(teacher_of({R"(a\b)"}).rename_keys({R"(\\=.)"})), ElementsAre("a.b"));
  EXPECT_THAT(names_of(teacher_of({"net.a"}).rename_keys({R"(^net\.=)"})), ElementsAre("a"));
}

TEST(RenameKeys, SwappedNamesAreNoCollision) {
  const auto source = teacher_of({"a", "b"}).rename_keys({"^a$=t", "^b$=a", "^t$=b"});
  EXPECT_THAT(names_of(source), ElementsAre("b", "a"));
  EXPECT_EQ(source.open()->tensors()[0].stored_name, "a");
  const auto back = source.rename_keys({"^a$=t", "^b$=a", "^t$=b"}).open();
  EXPECT_EQ(back->tensors()[0].stored_name, "");
}

TEST(RenameKeys, TwoTensorsOfOneNameAreNamedWithTheRule) {
  const auto source =
      teacher_of({"ema.x", "net.x"}).rename_keys({"x$=weight", R"(^(ema|net)\.=)", "w=v"});
  EXPECT_THAT(teacher_error(source),
              AllOf(HasSubstr("tensor \"net.x\""), HasSubstr("\"ema.x\""), HasSubstr("\"weight\""),
                    HasSubstr(R"(the rule "^(ema|net)\.=")")));
  EXPECT_THAT(teacher_error(teacher_of({"abc"}).rename_keys({".*="})), HasSubstr("empty name"));
}

TEST(RenameKeys, MalformedRulesAreRefusedAtOnce) {
  EXPECT_THAT(rule_error("norm"), AllOf(HasSubstr("\"norm\""), HasSubstr("FROM=TO")));
  EXPECT_THAT(rule_error("=x"), AllOf(HasSubstr("\"=x\""), HasSubstr("0 bytes")));
  EXPECT_THAT(rule_error(""), HasSubstr("FROM=TO"));
  EXPECT_THAT(rule_error(R"(a\=b)"), HasSubstr("FROM=TO"));
  EXPECT_THAT(rule_error("a(=b"), AllOf(HasSubstr("a(=b"), HasSubstr("regular expression")));
  EXPECT_THAT(rule_error(std::string(2000, '(') + "=b"), HasSubstr("2000 bytes"));
}

TEST(RenameKeys, NamesThatCouldExhaustTheStackAreRefused) {
  const std::vector<std::string> rules{"(a|b)*c=d"};
  const std::string longest(1024, 'a');
  EXPECT_THAT(names_of(teacher_of({longest}).rename_keys(rules)), ElementsAre(longest));
  EXPECT_THAT(teacher_error(teacher_of({std::string(200'000, 'a')}).rename_keys(rules)),
              AllOf(HasSubstr("200000 bytes"), HasSubstr("1024")));
}

TEST(MapKeys, LeavesOutAndRenamesAsTheCallbackSays) {
  const auto source = teacher_of({"a", "optimizer.a", "b"})
                          .map_keys([](const std::string& name) -> std::optional<std::string> {
                            if (name.starts_with("optimizer.")) return std::nullopt;
                            return "net." + name;
                          });
  const auto teacher = source.open();
  EXPECT_THAT(names_of(source), ElementsAre("net.a", "net.b"));
  EXPECT_EQ(teacher->read(1).item<double>(), 2);
  EXPECT_EQ(teacher->tensors()[1].stored_name, "b");
}

TEST(MapKeys, ACallbackThatFailsIsNamedWithTheTensor) {
  const auto source = teacher_of({"a"});
  const KeyMap fails = [](const std::string&) -> std::optional<std::string> {
    throw std::out_of_range("no such layer");
  };
  EXPECT_THAT(teacher_error(source.map_keys(fails, "the layer table")),
              AllOf(HasSubstr("tensor \"a\""), HasSubstr("the layer table failed"),
                    HasSubstr("no such layer")));
  EXPECT_THAT(teacher_error(source.map_keys([](const std::string&) { return ""; })),
              AllOf(HasSubstr("tensor \"a\""), HasSubstr("empty name"), HasSubstr("the key map")));
  EXPECT_THAT(error_of<ConfigError>([&] { source.map_keys(nullptr); }), HasSubstr("the key map"));
}

class TiedTeacher : public ::testing::Test {
 protected:
  void SetUp() override {
    save_safetensors(folder_ / "tied.safetensors",
                     {{"net.embed", torch::ones(2)}, {"net.norm", torch::ones(2)}},
                     {{"format", "pt"}, {"net.head", "net.embed"}});
  }
  TeacherSource source() const { return TeacherSource::path(folder_ / "tied.safetensors"); }

  TempFolder folder_;
};

TEST_F(TiedTeacher, TiesAreRenamedWithTheirTensors) {
  EXPECT_THAT(source().strip_prefix("net.").open()->metadata(),
              ElementsAre(Pair("format", "pt"), Pair("head", "embed")));
  const auto drop = [](const std::string& gone) {
    return [gone](const std::string& name) {
      return name == gone ? std::nullopt : std::optional<std::string>(name);
    };
  };
  for (const char* gone : {"net.embed", "net.head"}) {
    EXPECT_THAT(source().map_keys(drop(gone)).open()->metadata(),
                ElementsAre(Pair("format", "pt")));
  }
}

TEST_F(TiedTeacher, ATensorMayBeCalledTied) {
  save_safetensors(folder_ / "tied.safetensors",
                   {{"net.a", torch::ones(2)}, {"net.b", torch::ones(2)}}, {{"net.b", "net.a"}});
  EXPECT_THAT(source().strip_prefix("net.").open()->metadata(), ElementsAre(Pair("b", "a")));
}

TEST_F(TiedTeacher, ATiedNameMayNotTakeATensorsName) {
  EXPECT_THAT(teacher_error(source().rename_keys({"head=norm"})),
              AllOf(HasSubstr("net.head"), HasSubstr("net.norm"), HasSubstr("head=norm")));
}

TEST(UnwrapNames, TakesOffWhatWrappersPutIn) {
  EXPECT_THAT(
      names_of(teacher_of({"_orig_mod.a.weight", "b._checkpoint_wrapped_module.weight",
                           "c._fsdp_wrapped_module._orig_mod.weight", "my_orig_mod.weight",
                           "a.module.weight"})
                   .unwrap_names()),
      ElementsAre("a.weight", "b.weight", "c.weight", "my_orig_mod.weight", "a.module.weight"));
  EXPECT_THAT(names_of(teacher_of({"module.a.weight", "module.module.bias"}).unwrap_names()),
              ElementsAre("a.weight", "module.bias"));
  EXPECT_THAT(names_of(teacher_of({"module.a.weight", "head.bias"}).unwrap_names()),
              ElementsAre("module.a.weight", "head.bias"));
  EXPECT_THAT(names_of(teacher_of({"base_model.model.q.base_layer.weight",
                                   "base_model.model.q.lora_A.default.weight", "base_layer.bias"})
                           .unwrap_names()),
              ElementsAre("q.weight", "q.lora_A.default.weight", "base_layer.bias"));
  EXPECT_THAT(teacher_error(teacher_of({"a", "_orig_mod.a"}).unwrap_names()),
              AllOf(HasSubstr("\"_orig_mod.a\""), HasSubstr("wrappers")));
}

TEST(Combine, IsOneTeacherWithTheTensorsOfAll) {
  const auto source = TeacherSource::combine({teacher_of({"a", "b"}), teacher_of({"c", "d"})});
  const auto teacher = source.open();
  EXPECT_THAT(names_of(source), ElementsAre("a", "b", "c", "d"));
  EXPECT_EQ(teacher->read(1).item<double>(), 1);
  EXPECT_EQ(teacher->read(2).item<double>(), 0);
  EXPECT_THAT(teacher_error(TeacherSource::combine({teacher_of({"a", "b"}), teacher_of({"b"})})),
              AllOf(HasSubstr("tensor b"), HasSubstr("only one of them")));
  EXPECT_THAT(error_of<ConfigError>([] { TeacherSource::combine({}); }), HasSubstr("at least one"));
}

/// q, k and v of two blocks, of 1, 2 and 3 rows, and something else.
TeacherSource attention() {
  std::vector<NamedTensor> tensors{{"to_query.weight", torch::zeros({1, 2})}};
  for (const std::string block : {"0.", "1."}) {
    double value = block == "0." ? 0 : 10;
    int64_t rows = 1;
    for (const std::string part : {"to_q", "to_k", "to_v"}) {
      tensors.push_back({block + part + ".weight", torch::full({rows++, 2}, ++value)});
    }
  }
  return TeacherSource::state_dict(std::move(tensors));
}

TEST(MergeKeys, MakesOneTensorOfSeveral) {
  const auto source = attention().merge_keys({{"to_qkv", {"to_q", "to_k", "to_v"}, 0}});
  EXPECT_THAT(names_of(source),
              ElementsAre("to_query.weight", "0.to_qkv.weight", "1.to_qkv.weight"));
  const auto teacher = source.open();
  EXPECT_THAT(teacher->tensors()[2].sizes, ElementsAre(6, 2));
  EXPECT_EQ(teacher->tensors()[2].stored_name, "1.to_q.weight + 1.to_k.weight + 1.to_v.weight");
  const auto expected = torch::tensor({11., 12., 12., 13., 13., 13.});
  EXPECT_TRUE(torch::equal(teacher->read(2).select(1, 0), expected.to(torch::kFloat)));
  EXPECT_EQ(teacher->file_bytes(2), nullptr);
}

TEST(MergeKeys, NamesThePartThatDoesNotFit) {
  EXPECT_THAT(teacher_error(attention().merge_keys({{"kvx", {"to_k", "to_x"}, 0}})),
              AllOf(HasSubstr("0.to_k.weight"), HasSubstr("0.to_x.weight")));
  EXPECT_THAT(teacher_error(attention().merge_keys({{"kv", {"to_k", "to_v"}, 1}})),
              HasSubstr("does not fit 0.to_k.weight"));
  EXPECT_THAT(teacher_error(attention().merge_keys({{"kv", {"to_k", "to_v"}, 2}})),
              HasSubstr("no dimension 2"));
  EXPECT_THAT(teacher_error(attention().merge_keys(
                  {{"kv", {"to_k", "to_v"}, 0}, {"qv", {"to_q", "to_v"}, 0}})),
              HasSubstr("two merged tensors"));
  for (const KeyMerge& merge : {KeyMerge{"", {"a", "b"}}, KeyMerge{"ab", {"a"}},
                                KeyMerge{"aa", {"a", "a"}}, KeyMerge{"ab", {"a", ""}}}) {
    EXPECT_THAT(error_of<ConfigError>([&] { attention().merge_keys({merge}); }),
                HasSubstr("two or more"));
  }
}

}  // namespace
}  // namespace fakescore
