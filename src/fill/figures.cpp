#include <cmath>
#include <nlohmann/json.hpp>

#include "fakescore/error.hpp"
#include "fakescore/fill/predict.hpp"

namespace fakescore {
namespace {

using nlohmann::ordered_json;

class FiguresReader {
 public:
  FiguresReader(const ordered_json& json, const std::string& source)
      : json_(json), source_(source) {}

  Figures read() {
    if (!json_.is_object()) fail("is no JSON object");
    Figures figures;
    for (const auto& [key, value] : json_.items()) read_entry(figures, key, value);
    if (!json_.contains("backend")) fail("does not say whose backend it is of (\"backend\")");
    return figures;
  }

 private:
  void read_entry(Figures& figures, const std::string& key, const ordered_json& value) {
    if (key == "backend") {
      if (!value.is_string()) fail("has a backend that is no text");
      figures.backend = value;
    } else if (key == "copy") {
      figures.copy = rates(key, value);
    } else if (key == "first_write") {
      figures.first_write = rates(key, value);
    } else if (key == "message") {
      figures.message = rates(key, value);
    } else if (key == "disk") {
      figures.disk = number(key, value);
    } else if (key == "shared_disk") {
      figures.shared_disk = number(key, value);
    } else if (key == "link") {
      figures.link = number(key, value);
    } else if (key == "to_device") {
      figures.to_device = number(key, value);
    } else if (key == "control_seconds") {
      figures.control_seconds = number(key, value);
    } else if (key == "hop_seconds") {
      figures.hop_seconds = number(key, value);
    } else if (key != "measured") {  // where and how, for people
      fail("has an unknown figure \"" + key + "\"");
    }
  }

  double number(const std::string& key, const ordered_json& value) const {
    const double figure = value.is_number() ? value.get<double>() : -1;
    if (!(figure > 0) || std::isinf(figure)) fail("has a figure " + key + " that is not above 0");
    return figure;
  }

  Rates rates(const std::string& key, const ordered_json& value) const {
    if (!value.is_object() || value.size() != 2 || !value.contains("rank") ||
        !value.contains("host")) {
      fail("has a figure " + key + R"( that is not of the form {"rank": RATE, "host": RATE})");
    }
    return {number(key + ".rank", value["rank"]), number(key + ".host", value["host"])};
  }

  [[noreturn]] void fail(const std::string& message) const {
    throw ConfigError(source_, message,
                      "give what fakescore measure writes; docs/scale.md lists the figures");
  }

  const ordered_json& json_;
  const std::string& source_;
};

ordered_json to_json(const Rates& rates) { return {{"rank", rates.rank}, {"host", rates.host}}; }

}  // namespace

Figures read_figures(const std::string& text, const std::string& source) {
  const auto json = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  return FiguresReader(json, source).read();
}

std::string write_figures(const Figures& figures) {
  ordered_json json{{"backend", figures.backend}};
  if (figures.copy) json["copy"] = to_json(*figures.copy);
  if (figures.first_write) json["first_write"] = to_json(*figures.first_write);
  if (figures.message) json["message"] = to_json(*figures.message);
  if (figures.disk) json["disk"] = *figures.disk;
  if (figures.shared_disk) json["shared_disk"] = *figures.shared_disk;
  if (figures.link) json["link"] = *figures.link;
  if (figures.to_device) json["to_device"] = *figures.to_device;
  if (figures.control_seconds) json["control_seconds"] = *figures.control_seconds;
  if (figures.hop_seconds > 0) json["hop_seconds"] = figures.hop_seconds;
  return json.dump(2);
}

}  // namespace fakescore
