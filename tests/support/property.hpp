#pragma once

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/detail/TestListenerAdapter.h>

#include <cstdlib>
#include <sstream>
#include <string>
#include <utility>

namespace fakescore::testing {

/// Checks `property`, which takes its cases from rapidcheck, for `cases` of them: the same ones
/// each time and on every rank. A failure prints the smallest case that fails and the RC_PARAMS
/// that repeat it alone. In the environment, RC_PARAMS="seed=2 max_success=5000" asks for other
/// cases.
template <class Property>
void expect_property(int cases, Property property) {
  using namespace rc::detail;
  TestMetadata metadata;
  metadata.id = ::testing::UnitTest::GetInstance()->current_test_info()->name();
  Configuration configuration;
  configuration.testParams.seed = 1;
  configuration.testParams.maxSuccess = cases;
  const char* given = std::getenv("RC_PARAMS");
  if (given != nullptr) configuration = configFromString(given, configuration);
  TestListenerAdapter silent;
  const TestResult result =
      checkProperty(toProperty(std::move(property)), metadata, configuration.testParams, silent,
                    configuration.reproduce);
  if (result.template is<SuccessResult>()) return;
  std::ostringstream text;
  printResultMessage(result, text);
  if (result.template is<FailureResult>()) {
    configuration.reproduce = {{metadata.id, result.template get<FailureResult>().reproduce}};
  }
  ADD_FAILURE() << text.str() << "\nRC_PARAMS='" << configToMinimalString(configuration) << "'";
}

}  // namespace fakescore::testing
